"""The commands of the program `secagg` that belong to the product; those of the tools are elsewhere."""
