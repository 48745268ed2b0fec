"""What can go wrong for a person, each a sentence that says what to do."""

from __future__ import annotations


class SpecLocalError(Exception):
    """Base of every error meant for a person: one sentence that says what to do."""


class ModelFileError(SpecLocalError):
    """A model file is missing, damaged or of a kind that cannot be used."""


class ShortOfMemory(SpecLocalError):
    """Memory is short, the machine's or a GPU's."""

    def __init__(self, reason: str, advice: str = "", *, of_machine: bool = False) -> None:
        """reason: a sentence, without its full stop if the advice goes on with it.

        of_machine: it is no GPU's memory, so that fewer layers on GPUs would need more of it.
        """
        super().__init__(f"{reason}; {advice}." if advice else reason)
        self.reason, self.of_machine = reason.rstrip("."), of_machine


class NotEnoughMemory(ShortOfMemory, ModelFileError):
    """The weights do not fit into the memory that is free."""


class VocabularyMismatch(SpecLocalError):
    """Target and draft do not share a vocabulary."""


class ContextOverflow(SpecLocalError):
    """The prompt does not fit into the context, or the context not into memory."""


class PrefixMismatch(SpecLocalError):
    """A prefix that was kept does not fit what is loaded now, or its file is damaged."""


class ContextTooLarge(ShortOfMemory, ContextOverflow):
    """A context does not fit into the memory that is free."""


class RunnerBusy(SpecLocalError):
    """A generation was asked for while another one runs on the same runner."""


class ConfigError(SpecLocalError):
    """An option or a line of models.toml is not what it should be."""


class DownloadError(SpecLocalError):
    """A model file could not be fetched, or is not what its hash says."""


class EngineError(SpecLocalError):
    """llama.cpp refused an evaluation."""


class Interrupted(SpecLocalError):
    """An evaluation was abandoned because somebody asked for it."""


class NoTokenAllowed(EngineError):
    """Grammar or schema, bans and biases together leave no token to draw."""


def require(condition: bool, message: str) -> None:
    """Raise ConfigError(message) unless the condition holds."""
    if not condition:
        raise ConfigError(message)
