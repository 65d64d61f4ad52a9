"""From an update to integers that are summed, and from the sum to a mean.

An update passes through these on its way:

1. `schema`: a `Schema` names the arrays of a task. It checks an update and gives it as one vector of `Values`, which is
   read range by range, so that no copy of the whole is made. `sources` reads its arrays, in memory, in mapped files or
   in pieces, and refuses an array that changed in between; `arrays` says which NumPy arrays can be summed.
2. `steps`: clip, sample, rotate and feedback turn values into other values, in the order that the text of a `Pipeline`
   (`pipeline`) says. Without a pipeline there are none.
3. `code`: the `Code` of a round makes integers of the values: rounded (`fixedpoint`), rounded with noise (`noisy`,
   sized by `calibration`), or, where the update is of whole numbers, as they are (`integers`).
4. `vector`: the result is an `EncodedUpdate`, the `IntegerVector` that every scheme takes and masks or encrypts.
   `packing` puts integers of b bits into bytes.

`Code.decode_mean` goes the way back, also range by range: from the sum of the integers to a `WeightedMean`, in arrays
that a `Sink` of the schema makes or was given.

No step needs the whole vector: each works on at most 2^16 values, or on whole blocks of that many. Feedback alone keeps
vectors: what is carried, and what was lost, float32 each.
"""
