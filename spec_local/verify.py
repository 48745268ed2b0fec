"""Verification rules: given the target's logits and a draft, which tokens are emitted.

**keyed** (the default). The target's own draw at a position is a deterministic function of its
distribution p, the seed and the position (Gumbel-max with keyed noise, see `sampling.py`):

    x = argmax over the candidates of  log p(x) + g(seed, position, x)

A drafted token is accepted if and only if it *is* that draw. Hence

- the output depends on (target, prompt, sampling, seed) alone, never on the drafter: the
  drafter-invariant coupling of Daliri, Musco and Suresh (arXiv 2408.07978);
- each emitted token has exactly the target's distribution, because nothing else is ever emitted;
- a drafter that draws from its own q with the same noise g agrees with probability at least
  (1 - TV) / (1 + TV), where TV is the total variation distance of p and q.

At temperature 0 the noise is zero and the rule is the familiar comparison of two argmaxes.
"""

from __future__ import annotations

from spec_local.types import Draft, Logits, Sampler, Verdict


def keyed(rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
    """Accept drafted tokens for as long as the target draws the same ones.

    rows: (k + 1, n_vocab) logits; row i is the target's view after i drafted tokens.
    The sampler moves once per emitted position and never past the first mismatch, so stateful
    sampler chains (penalties) need no rollback.
    """
    for accepted, token in enumerate(draft.tokens):
        drawn = sampler.draw(rows[accepted])
        if drawn != token:
            return Verdict(accepted, token=drawn)  # recovered
    return Verdict(len(draft.tokens), token=sampler.draw(rows[-1]))  # bonus
