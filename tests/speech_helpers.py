"""Small spoken corpora, tiny NeMo networks and a hub that offers them, for tests of the recogniser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.simulator.voice import Synthesizer, voices

WORDS = ("yes", "no", "stop", "bill", "pay", "cancel", "card", "agent", "refund", "line")


def a_manifest(
    path: Path,
    count: int = 24,
    *,
    seed: int = 0,
    sample_rate_hz: int = 16000,
    words: int = 2,
    **changes: Any,
) -> Path:
    """A NeMo manifest at `path` with `count` synthesised utterances of `words` words beside it."""
    rng = np.random.default_rng(seed)
    synthesizer, speakers, lines = Synthesizer(), voices(4, seed), []
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = " ".join(rng.choice(WORDS, words))
        samples = synthesizer.speak(text, speakers[number % len(speakers)], sample_rate_hz)
        audio = path.parent / f"{path.stem}-{number:03d}.wav"
        soundfile.write(audio, samples, sample_rate_hz)
        row = {
            "audio_filepath": audio.name,
            "duration": len(samples) / sample_rate_hz,
            "text": text,
            **changes,
        }
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return path


def a_network(**changes: Any) -> Any:
    """A fresh NeMo CTC model small enough to learn a little within seconds."""
    from training.asr.base import BaseTraining, build_network

    return build_network(
        BaseTraining(**{"channels": 48, "kernels": (7, 9), "repeat": 1, "dropout": 0.0, **changes})
    )


def a_nemo(path: Path, **changes: Any) -> Path:
    """The `.nemo` of such a network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    a_network(**changes).save_to(str(path))
    return path


def a_hybrid_nemo(path: Path) -> Path:
    """The `.nemo` of a tiny transducer with a CTC branch."""
    from omegaconf import OmegaConf

    from models.asr.nemo import nemo_asr

    config = OmegaConf.to_container(a_network(channels=16, kernels=(5,)).cfg)
    assert isinstance(config, dict)
    labels, decoder = config["labels"], config["decoder"]
    modules, sizes = "nemo.collections.asr.modules", {"pred_hidden": 8, "joint_hidden": 8}
    config = {
        name: config[name] for name in ("sample_rate", "labels", "preprocessor", "encoder")
    } | {
        "model_defaults": {"enc_hidden": 32, **sizes},
        "decoder": {
            "_target_": f"{modules}.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "vocab_size": len(labels),
            "prednet": {"pred_hidden": 8, "pred_rnn_layers": 1, "t_max": None, "dropout": 0.0},
        },
        "joint": {
            "_target_": f"{modules}.RNNTJoint",
            "log_softmax": None,
            "preserve_memory": False,
            "fuse_loss_wer": False,
            "fused_batch_size": 1,
            "vocabulary": labels,
            "num_classes": len(labels),
            "jointnet": {"encoder_hidden": 32, **sizes, "activation": "relu", "dropout": 0.0},
        },
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 5}},
        "loss": {"loss_name": "pytorch"},
        "aux_ctc": {"ctc_loss_weight": 0.3, "decoder": decoder, "decoding": {"strategy": "greedy"}},
    }
    nemo_asr().EncDecHybridRNNTCTCModel(OmegaConf.create(config)).save_to(str(path))
    return path


def a_word_piece_nemo(path: Path) -> Path:
    """The `.nemo` of a tiny CTC model that spells in pieces of words (made of `WORDS`)."""
    import sentencepiece
    from omegaconf import OmegaConf

    from models.asr.nemo import nemo_asr

    folder = path.parent / "pieces"
    folder.mkdir(parents=True)
    (folder / "text.txt").write_text("\n".join([" ".join(WORDS)] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=30,
        model_type="bpe",
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    pieces = [line.split("\t")[0] for line in (folder / "tokenizer.vocab").read_text().splitlines()]
    (folder / "vocab.txt").write_text("\n".join(pieces[1:]))
    config = OmegaConf.to_container(a_network(channels=16, kernels=(5,)).cfg)
    assert isinstance(config, dict)
    config = {name: config[name] for name in ("sample_rate", "preprocessor", "encoder", "decoder")}
    config["tokenizer"] = {"dir": str(folder), "type": "bpe"}
    config["decoder"] |= {"num_classes": -1, "vocabulary": []}
    nemo_asr().EncDecCTCModelBPE(OmegaConf.create(config)).save_to(str(path))
    return path


def a_conformer_nemo(path: Path, subsampling: int = 4) -> Path:
    """The `.nemo` of a tiny FastConformer with a CTC decoder, made of characters."""
    from omegaconf import OmegaConf

    from models.asr.nemo import nemo_asr

    config = OmegaConf.to_container(a_network(channels=16, kernels=(5,)).cfg)
    assert isinstance(config, dict)
    config = {name: config[name] for name in ("sample_rate", "labels", "preprocessor", "decoder")}
    config["encoder"] = {
        "_target_": "nemo.collections.asr.modules.ConformerEncoder",
        "feat_in": config["preprocessor"]["features"],
        "feat_out": -1,
        "n_layers": 2,
        "d_model": 16,
        "subsampling": "dw_striding",
        "subsampling_factor": subsampling,
        "subsampling_conv_channels": 8,
        "ff_expansion_factor": 2,
        "self_attention_model": "rel_pos",
        "n_heads": 2,
        "conv_kernel_size": 5,
        "dropout": 0.0,
        "dropout_emb": 0.0,
        "dropout_att": 0.0,
        "dropout_pre_encoder": 0.0,
    }
    config["decoder"] |= {"feat_in": 16}
    nemo_asr().EncDecCTCModel(OmegaConf.create(config)).save_to(str(path))
    return path


@contextmanager
def a_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Offers OWNER/MODEL/FILE below `folder` over HTTP as huggingface.co does, and lets its client
    ask there.
    """
    from huggingface_hub import constants

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            owner, model, _, _, name = [*self.path.strip("/").split("/"), "", "", "", ""][:5]
            path = folder / owner / model / name
            self.content = path.read_bytes() if path.is_file() else b""
            self.send_response(200 if self.content else 404)
            self.send_header("ETag", f'"{len(self.content)}"')
            self.send_header("X-Repo-Commit", "c0ffee")
            self.send_header("Content-Length", str(len(self.content)))
            if not self.content:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(self.content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder.with_name("hub-cache")))
    try:
        yield folder
    finally:
        server.shutdown()
        server.server_close()
