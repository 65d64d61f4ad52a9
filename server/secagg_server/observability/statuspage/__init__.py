"""The status page: what an operator wants to see of a running coordinator, as a page for people and as JSON.

`values` has what is shown, `memory` keeps what has happened, `reading` takes a picture, `document` and
`page` write it. Nothing here knows a key, a share, a sum or a value of an update.
"""
