"""The FL server: wants the histogram of all sites' rows together. Run it as: python server.py"""

from multiprocessing.connection import Listener

with Listener(("localhost", 7000), authkey=b"an example") as listener:
    print("waiting for three sites")
    histogram = sum(listener.accept().recv() for _ in range(3))

for start, count in zip(range(0, 1024, 64), histogram, strict=True):
    print(f"ink {start:4} to {start + 64:4}: {count:4} images")
