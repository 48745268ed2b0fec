"""Verification rules: given the target's logits and a draft, which tokens are emitted.

Let p be the target's distribution at a position after the whole sampler chain, and q the
drafter's. One evaluation of the target gives p after 0, 1, … k drafted tokens x_1 … x_k; a rule
accepts the first τ of them and adds one token of its own: a *recovered* token after a rejection, a
*bonus* token after full acceptance. All three rules here are lossless: what is emitted is
distributed as if the target had drawn it token by token. They differ in how many tokens they
accept, and in what else they promise. TV is the total variation distance, Σ |p - q| / 2.

**keyed** (the default). The target's own draw at a position is a deterministic function of p, the
seed and the position (Gumbel-max with keyed noise g, see `sampling/noise.py`):

    x = argmax over the candidates of  log p(x) + g(seed, position, x)

A drafted token is accepted if and only if it *is* that draw. Hence

- the output depends on (target, prompt, sampling, seed) alone, never on the drafter: the
  drafter-invariant coupling of Daliri, Musco and Suresh (arXiv 2408.07978);
- each emitted token has exactly the target's distribution, because nothing else is ever emitted;
- a drafter that draws from its own q with the same noise agrees with probability
  Σ_x 1 / Σ_y max(p(y)/p(x), q(y)/q(x)), which is at least (1 - TV) / (1 + TV).

**rejection** (Leviathan et al., arXiv 2211.17192; Chen et al., arXiv 2302.01318). Going through the
draft, accept x with probability min(1, p(x)/q(x)); at the first rejection draw the recovered token
from the residual (p - q)₊, normalised; after full acceptance draw the bonus from p. A token is
accepted with probability Σ min(p, q) = 1 - TV, and for a single token no rule can do better.

**block** (Sun et al., arXiv 2403.10444). Judge the draft as a whole. With w_0 = 1 and

    w_i = min(1, w_{i-1} · p(x_i) / q(x_i))

w_i is how likely the first i tokens can be kept at most. For every i accept the first i tokens with
probability h_i, and keep the longest prefix accepted:

    h_k = w_k       h_i = R_i / (R_i + 1 - w_i),   R_i = Σ_x (w_i p(x) - q(x))₊  after x1 … xi

After τ < k tokens the recovered one is drawn from (w_τ p - q)₊, normalised. A prefix that was a
little unlikely under the target can be rescued by what follows it, so block verification never
accepts fewer tokens than rejection in the mean.

**A tree** (`tree.py`). Keyed verification walks down it for as long as a child carries the drawn
token; nothing else changes (list coupling: Daliri et al., and arXiv 2506.05632). Rejection tries
one sibling after the other (recursive rejection sampling, arXiv 2402.14903): they were drawn from q
without replacement, so the j-th one from q without the j - 1 before it, and what the rejection of
one leaves of p, the residual, is what the next is judged by. Block verification is of chains only;
a tree is judged by rejection.

For the last two, *q must be the distribution the drafted token was really drawn from*, with noise
that is used for nothing else. A drafter without probabilities is a point mass on what it proposes.
At temperature 0, p and q are point masses and all rules compare two argmaxes.
"""

from __future__ import annotations

import numpy as np

from spec_local.engine.draft import Draft, Verdict
from spec_local.engine.types import Verifier
from spec_local.errors import NoTokenAllowed
from spec_local.sampling.distribution import Distribution, on_common_support
from spec_local.sampling.settings import AcceptanceRule
from spec_local.sampling.types import Logits, Sampler
from spec_local.util.tree import ROOT


def keyed(rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
    """Accept drafted tokens for as long as the target draws the same ones.

    rows: (k + 1, n_vocab) logits; row i + 1 is the target's view after the draft's token i, row 0
    its view before the draft.
    The sampler moves once per emitted position and never past the first mismatch, so stateful
    sampler chains (penalties, grammar) need no rollback.
    """
    accepted, node = 0, ROOT
    drawn = sampler.draw(rows[0])
    while (child := draft.child(node, drawn)) is not None:
        accepted, node = accepted + 1, child
        drawn = sampler.draw(rows[node + 1])
    return Verdict(accepted, token=drawn, last=node)  # recovered, or the bonus


def rejection(rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
    """Accept each drafted token x with probability min(1, p(x)/q(x)), until one is rejected.

    rows as in `keyed`; the draft's distributions are the q.
    """
    if draft.parents is not None:
        return _rejection_on_tree(rows, draft, sampler)
    for accepted, token in enumerate(draft.judged):
        p, q = sampler.distribution(rows[accepted]), draft.distribution(accepted)
        if not sampler.chance(acceptance(p, q, token)):
            return Verdict(accepted, token=sampler.emit(residual(p, q)))  # recovered
        sampler.accept(token)
    if draft.end is not None:
        return Verdict(len(draft.tokens), token=draft.end)  # nothing follows it
    return Verdict(len(draft.tokens), token=sampler.emit(sampler.distribution(rows[-1])))  # bonus


def _rejection_on_tree(rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
    accepted, node, next_one = 0, ROOT, ROOT
    while True:
        p = sampler.distribution(rows[node + 1])
        for child in draft.children(node):
            q = draft.distribution(child)
            if sampler.chance(acceptance(p, q, draft.tokens[child])):
                next_one = child
                break
            p = residual(p, q)
        if next_one == node:  # all children were rejected, or there are none
            return Verdict(accepted, token=sampler.emit(p), last=node)
        token = draft.tokens[next_one]
        sampler.accept(token)
        if next_one in draft.ends:
            return Verdict(accepted, token=token, last=node)  # nothing follows it
        accepted, node = accepted + 1, next_one


def block(rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
    """Accept the longest prefix i of the draft whose coin shows at most h_i.

    rows as in `keyed`; the draft's distributions are the q.
    """
    if draft.parents is not None:
        return _rejection_on_tree(rows, draft, sampler)
    weights, targets = weigh_prefixes(rows, draft, sampler)
    length = len(weights) - 1
    while length > 0 and not sampler.chance(keep_probability(weights, targets, draft, length)):
        length -= 1
    for token in draft.judged[:length]:
        sampler.accept(token)
    if length == len(draft.judged) and draft.end is not None:
        return Verdict(len(draft.tokens), token=draft.end)
    p = targets[length] if length < len(targets) else sampler.distribution(rows[length])
    if length < len(draft.judged):
        p = residual(p, draft.distribution(length), weights[length])  # recovered, else bonus
    return Verdict(length, token=sampler.emit(p))


def weigh_prefixes(
    rows: Logits, draft: Draft, sampler: Sampler
) -> tuple[list[float], list[Distribution]]:
    """w_i of every prefix of the draft with w_i > 0, and the target's distributions after them.

    The chain's state is needed along the whole draft before any of it is accepted: a copy walks.
    """
    weights, targets = [1.0], [sampler.distribution(rows[0])]
    walker = sampler.copy()
    try:
        for i, token in enumerate(draft.judged):
            weight = acceptance(targets[i], draft.distribution(i), token, weights[i])
            if weight == 0:
                break
            weights.append(weight)
            if i + 1 < len(rows):
                walker.accept(token)
                targets.append(walker.distribution(rows[i + 1]))
    except NoTokenAllowed:
        pass  # a dead end, which matters only if the draft is accepted as far as that
    finally:
        walker.close()
    return weights, targets


def keep_probability(
    weights: list[float], targets: list[Distribution], draft: Draft, length: int
) -> float:
    """h_i: the probability of accepting the first i tokens, unless more are accepted."""
    weight = weights[length]
    if length in (len(draft.judged), len(targets)):
        return weight
    _ids, p, q = on_common_support(targets[length], draft.distribution(length))
    excess = float(np.maximum(weight * p - q, 0.0).sum())
    return excess / (excess + (1.0 - weight)) if excess > 0 else 0.0


def acceptance(p: Distribution, q: Distribution, token: int, weight: float = 1.0) -> float:
    """min(1, weight · p(x) / q(x)); 0 for a token the target cannot draw."""
    wanted, offered = weight * p.probability(token), q.probability(token)
    if wanted == 0:
        return 0.0
    return min(1.0, wanted / offered) if offered > 0 else 1.0


def residual(p: Distribution, q: Distribution, weight: float = 1.0) -> Distribution:
    """(weight · p - q)₊, normalised: what the target draws beyond what the drafter offers.

    Where rounding leaves nothing of it, q covers p up to some 1e-16; then it is p itself.
    """
    ids, wanted, offered = on_common_support(p, q)
    excess = np.maximum(weight * wanted - offered, 0.0)
    return Distribution.of_weights(ids, excess) if excess.any() else p


VERIFIERS: dict[AcceptanceRule, Verifier] = {
    "keyed": keyed,
    "rejection": rejection,
    "block": block,
}
