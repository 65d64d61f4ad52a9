"""The job: averages what the sites trained. Run it in FLARE's simulator as: python job.py"""

import torch
from model import SITES, TEST, Net, accuracy, images
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

net = Net()
recipe = FedAvgRecipe(name="digits", model=net, min_clients=SITES, num_rounds=3, train_script="client.py")
recipe.add_client_file("model.py")
run = recipe.execute(SimEnv(num_clients=SITES))

checkpoint = torch.load(f"{run.get_result()}/server/simulate_job/app_server/FL_global_model.pt")
net.load_state_dict(checkpoint["model"])
print(f"accuracy {accuracy(net, *images(TEST)):.3f}")
