"""Generated from proto/secagg/wire/v1 by `make proto`; not edited by hand."""
