"""Measurements of the real code on real sizes, beside the limits of the machine they ran on."""
