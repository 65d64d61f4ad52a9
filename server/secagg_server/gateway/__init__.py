"""The gateway: the calls of the data plane over HTTPS, for participants that have no gRPC, such as browsers and phones.

A participant submits what goes up in a call and polls for what comes down, in requests that are answered within half a
minute (`gateway.proto`). Between two requests the gateway holds the call open in its place (`held`), and the data plane
takes it as one that came over gRPC: the same limits, the same checks, the same rounds. `application` has the routes,
`port` the connections, and `tokens` says who calls.

The requests are unary calls of the Connect protocol, so that its clients can make them. Its library for Python is not
used: it reads a body whole before anybody can ask whose it is, and brings a second implementation of protobuf. uvicorn,
which the status port has anyway, hands over the headers first.
"""
