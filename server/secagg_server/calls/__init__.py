"""What answers the RPCs of both planes. A new call is a row in `secagg.wire.calls` and a method of `data_plane` or
`control_plane`; `handlers` reads and writes its bytes, and `statuses` turns errors into gRPC statuses.
"""
