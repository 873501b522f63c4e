"""The model of examples/byte_gpt in PyTorch, data-parallel, with checkpoints in muster's store.  See README.md."""
import argparse
import glob
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import muster

LAYERS, WIDTH, HEADS, CONTEXT = 4, 128, 4, 64


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        count, length, _ = x.shape
        q, k, v = (part.view(count, length, HEADS, -1).transpose(1, 2)
                   for part in self.qkv(x).split(WIDTH, dim=2))
        scores = q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(later, float("-inf")).softmax(3) @ v
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        x = self.fc(x)
        return self.proj(0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(WIDTH), Attention()
        self.ln_2, self.mlp = nn.LayerNorm(WIDTH), Mlp()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    """Its parameters have byte_gpt's names and shapes."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(WIDTH)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[:tokens.shape[1]]
        for block in self.h:
            x = block(x)
        logits = self.ln_f(x) @ self.wte.weight.t()
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def named_moments(model, optimizer, moment):
    return {name: optimizer.state[parameter][moment] for name, parameter in model.named_parameters()}


def save(step, loss, model, optimizer):
    """The tensors that byte_gpt has, and what its loop wants to know beside them."""
    state = {**model.state_dict(), "exp_avg": named_moments(model, optimizer, "exp_avg"),
             "exp_avg_sq": named_moments(model, optimizer, "exp_avg_sq")}
    muster.save(step, state, {"format": 1, "run": {}, "step": step, "loss_ema": loss})


def load(model, optimizer):
    """The step that was saved last, or 0."""
    found = muster.load()
    if found is None:
        return 0
    model.load_state_dict({name: found.state[name] for name in model.state_dict()})
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {"step": torch.tensor(float(found.step)),
                                      "exp_avg": found.state["exp_avg"][name].to(parameter.device),
                                      "exp_avg_sq": found.state["exp_avg_sq"][name].to(parameter.device)}
    return found.step


def batch(text, step, count):
    """This rank's sequences of a step."""
    generator = torch.Generator().manual_seed(step * muster.world_size() + muster.rank())
    starts = torch.randint(len(text) - CONTEXT, (count,), generator=generator)
    both = torch.stack([text[start:start + CONTEXT + 1] for start in starts]).long()
    return both[:, :-1], both[:, 1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--data", default="/usr/share/common-licenses")
    options = parser.parse_args()
    if not muster.can_save():
        print("nothing will be saved: give the job a store, by --checkpoint-store FOLDER", flush=True)
    torch.manual_seed(42)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", muster.local_rank())
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device.type == "cpu" else "nccl")
    files = sorted(path for path in glob.glob(options.data + "/*") if not os.path.islink(path))
    text = torch.frombuffer(bytearray(b"".join(open(path, "rb").read() for path in files)), dtype=torch.uint8)
    model = Gpt().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    first = load(model, optimizer)
    parallel = DistributedDataParallel(model)
    for step in range(first + 1, options.steps + 1):
        tokens, targets = batch(text, step, max(16 // muster.world_size(), 1))
        optimizer.zero_grad()
        loss = parallel(tokens.to(device), targets.to(device))
        loss.backward()
        optimizer.step()
        muster.progress(step, loss=loss)
        stop = muster.should_stop()
        if muster.can_save() and (stop or step == options.steps or step % options.save_every == 0):
            save(step, loss.item(), model, optimizer)
        if stop:
            break
    if muster.rank() == 0:
        print(f"{muster.world_size()} ranks trained steps {first + 1} to {step}, loss {loss.item():.3f}, run "
              f"{muster.run_id()}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
