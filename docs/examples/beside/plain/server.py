"""The FL server: sends its model to three clients, and adds the mean of what they trained."""

from multiprocessing.connection import Listener

import numpy as np

model = {"weights": np.zeros(4, np.float32)}

with Listener(("", 7000), authkey=b"an example") as listener:
    clients = [listener.accept() for _ in range(3)]
    for number in range(1, 4):
        for client in clients:
            client.send(model)
        updates, weights = zip(*[client.recv() for client in clients], strict=True)
        mean = {name: np.average([update[name] for update in updates], axis=0, weights=weights) for name in model}
        model = {name: (array + mean[name]).astype(np.float32) for name, array in model.items()}
        print(f"round {number}: weights {model['weights'].round(2)}")
