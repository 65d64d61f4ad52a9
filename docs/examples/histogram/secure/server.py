"""The FL server: wants the histogram of all sites' rows together. Run it as: python server.py"""

from secagg_client import Column, ControlClient

ink = Column(name="ink", low=0, high=1024, max_rows=10_000, bins=16)
question = ink.config(task="ink", max_participants=3)
with ControlClient("unix:secagg-control.sock") as control:
    print("waiting for three sites")
    histogram = ink.read(control.result(control.open_round(question)).totals(question)).histogram

for start, count in zip(range(0, 1024, 64), histogram, strict=True):
    print(f"ink {start:4} to {start + 64:4}: {count:4} images")
