"""torch_gpt.py STEPS TEXT: the model of examples/byte_gpt in PyTorch, a rank of it: 16 sequences of 64
bytes a step, over all ranks, each rank's at once.  Prints tokens a second (after five steps) from
rank 0.  With WORLD_SIZE over 1 it is DistributedDataParallel over gloo."""

import math
import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

LAYERS, WIDTH, HEADS, CONTEXT, SEQUENCES = 4, 128, 4, 64, 16


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, mask):
        batch, length, _ = x.shape
        q, k, v = (part.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
                   for part in self.qkv(self.ln_1(x)).split(WIDTH, dim=2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(WIDTH // HEADS)
        mixed = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1) @ v
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(WIDTH)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS) if residual else 0.02)
            elif "ln_" not in name:
                nn.init.zeros_(weight)
        # No buffers: gloo broadcasts no bool.
        self.mask = torch.ones(CONTEXT, CONTEXT).triu(1).bool()
        self.places = torch.arange(CONTEXT)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe(self.places)
        for block in self.blocks:
            x = block(x, self.mask)
        logits = self.ln_f(x) @ self.wte.weight.t()
        return F.cross_entropy(logits.view(-1, 256), targets.reshape(-1))


def main():
    steps, path = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    ranks, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    with open(path, "rb") as file:
        text = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).long()
    torch.manual_seed(0)
    model = Gpt()
    if sum(weight.numel() for weight in model.parameters()) != 834304:
        raise AssertionError("this is another model")
    decay = [weight for weight in model.parameters() if weight.dim() == 2]
    rest = [weight for weight in model.parameters() if weight.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1},
                                   {"params": rest, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.99))
    wrapped = model
    if ranks > 1:
        dist.init_process_group("gloo")
        wrapped = nn.parallel.DistributedDataParallel(model)
    torch.manual_seed(rank)
    reach = torch.arange(CONTEXT + 1)
    loss, began = None, 0.0
    for step in range(steps + 5):
        if step == 5:
            if ranks > 1:
                dist.barrier()
            began = time.perf_counter()
        starts = torch.randint(len(text) - CONTEXT - 1, (SEQUENCES // ranks, 1))
        chunk = text[starts + reach]
        optimizer.zero_grad(set_to_none=True)
        loss = wrapped(chunk[:, :-1], chunk[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
    if ranks > 1:
        dist.barrier()
    if rank == 0:
        rate = steps * SEQUENCES * CONTEXT / (time.perf_counter() - began)
        print(f"loss {loss.item():.3f}, {rate:.1f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
