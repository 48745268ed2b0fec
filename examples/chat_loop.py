"""A chat in the terminal: answers appear while they are written, and the model knows what was said.

    python examples/chat_loop.py [MODEL]

Ctrl-C cuts an answer short, and what there is of it stays in the conversation; Ctrl-D leaves.
MODEL is a name from `spec-local models list` or a .gguf file.
"""

from __future__ import annotations

import argparse

from spec_local import Runner


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat in the terminal.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--max-tokens", type=int, default=300, help="most tokens of an answer")
    arguments = parser.parse_args()

    with Runner.load(target=arguments.model) as runner:
        chat = runner.chat("You are a helpful assistant.", max_tokens=arguments.max_tokens)
        while True:
            try:
                line = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                print()
                break
            if not line:
                continue
            answer = chat.send(line)
            try:
                for chunk in answer:
                    print(chunk.text, end="", flush=True)
            except KeyboardInterrupt:
                answer.close()
            print()

        for message in chat.messages:
            print(f"{message['role']}: {len(message['content'])} characters")


if __name__ == "__main__":
    main()
