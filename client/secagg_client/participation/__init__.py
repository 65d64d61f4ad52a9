"""One participation in one round: what the caller brings, which call comes next, and what comes of it."""
