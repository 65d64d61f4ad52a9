"""`secagg bench peers`: secagg beside others that sum updates which nobody may see.

`flower` and `nvflare` call what these packages bring, `works` says what is compared, and `measure` takes turns. Nothing
of theirs is copied, and no figure of theirs is kept: both sides are measured in every run.
"""
