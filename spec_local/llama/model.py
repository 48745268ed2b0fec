"""A loaded GGUF model: weights, vocabulary, metadata. Contexts are made by `session.py`."""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local.errors import ConfigError, ModelFileError, require
from spec_local.gguf.header import TOKEN_MAP, check_model_file
from spec_local.llama import trial
from spec_local.llama.adapting import OpenAdapter, open_adapters, require_made_for
from spec_local.llama.backend import lib
from spec_local.llama.heads import head_kind, heads_of
from spec_local.llama.identity import identity
from spec_local.llama.load import load_weights
from spec_local.llama.messages import NO_EYES
from spec_local.llama.options import LoadOptions
from spec_local.llama.pictures import Encoder, picture
from spec_local.llama.placing import Files, ModelFile, numbered, placed, until_it_fits
from spec_local.llama.rpc import freed
from spec_local.llama.taps import LayerTaps
from spec_local.llama.vocab import Vocabulary
from spec_local.util.process import OwnStack, Process, closed_when_dropped
from spec_local.util.progress import Progress, no_progress

if TYPE_CHECKING:
    from spec_local.llama.shared_vocabulary import SharedVocabulary

logger = logging.getLogger("spec_local.llama.model")

_WANTS_ALL_ROWS = frozenset({"cogvlm"})
"""Where llama.cpp computes logits for all tokens of a batch and, if fewer were asked for, gives
those of the first ones: its src/models/cogvlm.cpp does not pick the rows that are wanted."""
_ONE_CACHE = frozenset({"deepseek4"})
"""Beside those with latent attention, which the header tells."""


class Model:
    """A model's weights in memory; a context manager, closing twice is harmless."""

    def __init__(
        self,
        path: str | Path,
        options: LoadOptions | None = None,
        progress: Progress = no_progress,
        *,
        vocab_only: bool = False,
        vouched: bool = False,
        heads: bool = False,
        may_be_head: bool = False,
    ) -> None:
        """Load a GGUF file; of a split model, its first part.

        vouched: its hash has been found right, so that it is not tried in a child process first.
        heads: with its multi-token prediction layers, if it has any that can be evaluated.
        may_be_head: it may be a head for another model, which is `head` of that one then.
        Raises ModelFileError when the file is missing, damaged, or not a decoder llama.cpp knows,
        and for adapters that do not fit it.
        """
        self.path = Path(path)
        self.options = options or LoadOptions()
        self._process = Process()
        self._handle: lib.llama_model_p | None = None
        self.header = check_model_file(self.path)
        self.is_head = may_be_head and head_kind(self.header) is not None
        """Whether it is nothing but a head for another model."""
        self.has_heads = (heads or self.is_head) and not vocab_only and heads_of(self.header)
        """Whether its multi-token prediction layers are loaded (`heads.py`)."""
        self.head: Model | None = None
        """A head of another file that drafts for it; whoever loaded it frees it."""
        lora = () if vocab_only else self.options.lora
        require(
            not (lora and self.is_head),
            f"{self.path.name} is a head, and takes no adapters; leave out --draft-lora.",
        )
        require_made_for(lora, self.path.name, self.header)
        self._try_apart(vocab_only, vouched, progress)
        resources = OwnStack()
        self._free = closed_when_dropped(self, resources)
        self._handle = self._load(progress, vocab_only)
        if self.options.rpc:
            resources.callback(freed, lib.llama_model_free, self._handle)
        else:
            resources.callback(lib.llama_model_free, self._handle)
        self.vocab = Vocabulary(lib.llama_model_get_vocab(self._handle))
        self.eyes: Encoder | None = None
        """Its image encoder, which is freed with it; None: it sees no images."""
        self.taps: LayerTaps | None = None
        """What sees the layers' outputs in contexts made from then on; None: nothing does."""
        resources.callback(self.vocab.close)
        self.token_map = self._token_map()
        """Id of each token in the model that a trimmed draft was cut from; None if it is none.

        Shape (n_vocab,), every id once.
        """
        self.shared: SharedVocabulary | None = None
        """Of a draft, what its target's vocabulary shares with it; None if that is the same."""
        if not vocab_only and not self.is_head and not self._decodes():
            self.close()
            raise ModelFileError(
                f"{self.path.name} cannot continue text: it is an encoder, a diffusion model, or "
                "has no vocabulary; choose a decoder-only model."
            )
        self.adapters: tuple[OpenAdapter, ...] = ()
        """Those in memory, which are in force in every context on it."""
        try:
            self.adapters = open_adapters(self._handle, self.path.name, lora)
        except ModelFileError:
            self.close()
            raise

    def _try_apart(self, vocab_only: bool, vouched: bool, progress: Progress) -> None:
        """Find out first, in child processes, whether this one would survive the files."""
        if not self.options.trial:
            return
        about = (self.path, self.header, self.options)
        if not vouched:
            tried = vocab_only or self.is_head  # a head alone cannot be evaluated
            trial.require_survived(*about, tried, progress, heads=self.has_heads)
        for each in () if vocab_only else self.options.lora:
            trial.require_survived(*about, False, progress, adapter=each.path)

    def _load(self, progress: Progress, vocab_only: bool) -> lib.llama_model_p:
        def load(options: LoadOptions) -> lib.llama_model_p:
            self.options = options
            return load_weights(
                self.path,
                self.header,
                options,
                progress,
                vocab_only=vocab_only,
                heads=self.has_heads,
            )

        if vocab_only:
            return load(numbered(self.options))
        wanted, files = self.options, Files(ModelFile(self.path.name, self.header))
        return until_it_fits(
            lambda margin: placed(wanted, lambda: files, margin),
            lambda found, _: load(found.options),
        )

    def _token_map(self) -> tuple[int, ...] | None:
        if TOKEN_MAP not in self.header.metadata:
            return None
        found = self.header.metadata[TOKEN_MAP]
        if (
            not isinstance(found, tuple)
            or not all(isinstance(token, int) and token >= 0 for token in found)
            or not len(found) == len(set(found)) == self.vocab.n_tokens
        ):
            self.close()
            raise ModelFileError(
                f"{self.path.name} is damaged: its token map does not fit its vocabulary; "
                "trim the original again."
            )
        return found

    def _decodes(self) -> bool:
        decoder_only = lib.llama_model_has_decoder(self.handle) and not lib.llama_model_has_encoder(
            self.handle
        )
        other = self._is_embedding_model() or lib.llama_model_is_diffusion(self.handle)
        return decoder_only and self.vocab.kind != "none" and not other

    def _is_embedding_model(self) -> bool:
        """Encoders such as BERT count as decoders in llama.cpp, but mark attention non-causal."""
        return self.header.metadata.get(f"{self.header.architecture}.attention.causal") is False

    @property
    def handle(self) -> lib.llama_model_p:
        """The llama_model pointer; raises EngineError in a forked child."""
        assert self._handle is not None, "the model is closed"
        self._process.require_this()
        return self._handle

    @property
    def identity(self) -> dict[str, str | int]:
        """What its speed depends on: the key of its profile."""
        return identity(self.path, self.options)

    @property
    def description(self) -> str:
        """Architecture, size and quantisation in a few words."""
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode(errors="replace")

    @property
    def n_ctx_train(self) -> int:
        """Context size the model was trained with, in tokens."""
        return lib.llama_model_n_ctx_train(self.handle) % (1 << 32)  # not signed in the file

    def context_size(self, wanted: int) -> int:
        """Tokens that a context shall have when so many are wanted; 0 wants the most.

        Beyond what a model was trained with its text is noise, and where positions are learned
        llama.cpp ends the process. Nothing here stretches positions, so more is never right; this
        is how llama-server and Ollama have it, too.
        """
        if 0 < wanted <= self.n_ctx_train:
            return wanted
        if wanted:
            _note_training(self.path.name, self.n_ctx_train, wanted)
        return self.n_ctx_train

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return lib.llama_model_size(self.handle)

    @property
    def is_recurrent(self) -> bool:
        """Whether some of its memory is a running state that cannot drop its last tokens."""
        handle = self.handle
        return lib.llama_model_is_recurrent(handle) or lib.llama_model_is_hybrid(handle)

    @property
    def wants_all_rows(self) -> bool:
        """Whether logits have to be asked for of all tokens, or those of others are given."""
        return self.header.architecture in _WANTS_ALL_ROWS

    @property
    def has_one_cache(self) -> bool:
        """Whether keys and values are read from the same numbers, which have one type then."""
        found = self.header.hyperparameter("attention.key_length_mla", 0)
        return bool(found) or self.header.architecture in _ONE_CACHE

    @property
    def sliding_window(self) -> int:
        """Window of its sliding-window attention layers, in tokens; 0 without any."""
        return lib.llama_model_n_swa(self.handle)

    @property
    def chat_template(self) -> str | None:
        """The Jinja template stored in the file."""
        template = lib.llama_model_chat_template(self.handle, None)
        return None if template is None else template.decode("utf-8", errors="replace")

    def has(self, token: int) -> bool:
        """Whether a context may have it: one of the vocabulary's, or of an image that was shown."""
        if token < 0:
            return self.eyes is not None and self.eyes.knows(token)
        return token < self.vocab.n_tokens

    def show(self, image: str | Path | bytes) -> str:
        """The mark that stands for an image in the text of a message.

        image: a file, or its bytes. Raises ConfigError if it cannot be read, or if the model sees
        no images.
        """
        if self.eyes is None:
            raise ConfigError(NO_EYES)
        return self.eyes.show(picture(image))

    def close(self) -> None:
        """Free the weights, as dropping it does; every session on it must be closed before."""
        if self.eyes is not None:
            self.eyes.close()
        self._handle = None
        self._free()

    @property
    def closed(self) -> bool:
        """Whether the weights have been freed."""
        return self._handle is None

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def _note_training(name: str, trained: int, wanted: int) -> None:
    """Say once that a context is smaller than what was wanted."""
    logger.warning(
        f"note: {name} was trained on texts of {trained:,} tokens; its context is {trained:,} "
        f"instead of {wanted:,}."
    )
