"""What plug-ins for federated learning frameworks share: rounds of metrics, the search for a clip, what
training changed, and half precision.

Nothing here knows a framework, and nothing here does input or output.
"""
