"""A deployment on this machine that lives for one run: a CA, identities in a folder and a coordinator process."""
