"""Generation in a worker thread, as in a desktop application, cancelled by the main one.

    python examples/thread_with_cancel.py [MODEL]

The main thread stands for the user interface: it takes text from a queue and never waits for the
model. Cancelling ends the answer after the present round; the text so far is kept, and the same
runner answers the next question.
"""

from __future__ import annotations

import argparse
import queue
import threading

from spec_local import Generation, Runner


def write(generation: Generation, inbox: queue.Queue[str | None]) -> None:
    """Run in the worker: hand over every piece of text, then None for the end."""
    try:
        for chunk in generation:
            inbox.put(chunk.text)
    finally:
        inbox.put(None)


def ask(runner: Runner, question: str, max_tokens: int, cancel_after: int | None = None) -> None:
    """Print an answer as it comes; cancel it after so many pieces, as a Stop button would."""
    messages = [{"role": "user", "content": question}]
    generation = runner.generate(messages, max_tokens=max_tokens)
    inbox: queue.Queue[str | None] = queue.Queue()
    worker = threading.Thread(target=write, args=(generation, inbox))
    worker.start()
    pieces: list[str] = []
    while (piece := inbox.get()) is not None:
        pieces.append(piece)
        if len(pieces) == cancel_after:
            generation.cancel()
    worker.join()
    print(f"{question}\n{''.join(pieces)}")
    print(f"[{generation.finish_reason} after {generation.stats.tokens} tokens]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate in a thread, and cancel.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--max-tokens", type=int, default=200, help="most tokens of an answer")
    arguments = parser.parse_args()

    with Runner.load(target=arguments.model) as runner:
        ask(runner, "Tell me a long story about a lighthouse.", 4000, cancel_after=20)
        ask(runner, "What is a lighthouse for?", arguments.max_tokens)


if __name__ == "__main__":
    main()
