"""One of three sites: counts its own rows for the FL server. Run it as: python site.py 1"""

import sys

from secagg_client import Client, Column
from sklearn.datasets import load_digits

site = int(sys.argv[1])
rows = load_digits().data.sum(axis=1)[site - 1 :: 3]  # how much ink each of our images has, 0 to 1024

ink = Column(name="ink", low=0, high=1024, max_rows=10_000, bins=16)
folder = f"secagg-ca/participants/site-{site}"
identity = {"certificate": f"{folder}/cert.pem", "key": f"{folder}/key.pem", "ca": f"{folder}/ca.pem"}
with Client.from_files("localhost:7443", **identity) as client:
    client.participate(ink.update(rows), task="ink", model_digest=ink.digest)
