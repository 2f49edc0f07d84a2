"""Conversations in the forms of TRL, transformers and LLaVA, and their real collators and processors."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from irtd_datasets.errors import ImageError, UnknownNameError
from irtd_datasets.training.chat import FORMS, chat, chat_transform
from irtd_datasets.training.examples import LeftOut

BOX = "<box>[[64, 64, 128, 256]]</box>"


def row(**changes):
    return {
        "id": "irtd/instruct/grounding/7",
        "image": np.full((512, 640), 90, np.uint8),
        "messages": [
            {"role": "user", "content": "Detect the bounding box of the car."},
            {"role": "assistant", "content": f"The target bounding box is {BOX}."},
        ],
        "box_frame": "pixel",
        "width": 640,
        "height": 512,
    } | changes


def test_forms_have_the_keys_of_their_readers():
    """Each form has the keys that its reader looks for, the image once, and the text as released."""
    trl = chat(row(), "trl")
    assert trl["messages"] == row()["messages"]
    assert [one.mode for one in trl["images"]] == ["RGB"]
    prompt = chat(row(), "trl-prompt")
    assert (prompt["prompt"], prompt["completion"]) == (row()["messages"][:1], row()["messages"][1:])
    parts = chat(row(), "transformers")["messages"]
    assert [part["type"] for part in parts[0]["content"]] == ["image", "text"]
    assert parts[1]["content"] == [{"type": "text", "text": f"The target bounding box is {BOX}."}]
    llava = chat(row(), "llava")
    assert llava["conversations"][0] == {
        "from": "human",
        "value": "<image>\nDetect the bounding box of the car.",
    }
    assert llava["conversations"][1]["from"] == "gpt"
    assert llava["image"].size == (640, 512)
    assert {chat(row(), form)["id"] for form in FORMS} == {row()["id"]}


def test_boxes_get_the_form_of_the_model():
    """With a target the numbers and the markup are the model's, about the image that is given."""
    found = chat(row(), "trl", target="qwen3-vl")["messages"][1]["content"]
    assert '{"bbox_2d": [100, 125, 200, 500]' in found
    small = row(image=np.zeros((256, 320), np.uint8), width=320, height=256)
    small["messages"] = [
        small["messages"][0],
        {"role": "assistant", "content": "<box>[[32, 32, 64, 128]]</box>"},
    ]
    assert "[100, 125, 200, 500]" in chat(small, "trl", target="qwen3-vl")["messages"][1]["content"]


def test_system_turns_go_where_there_is_a_place():
    """A system turn stays first; the image stands in the first question; LLaVA has no place for it."""
    talk = row(messages=[{"role": "system", "content": "Be short."}, *row()["messages"]])
    assert [message["role"] for message in chat(talk, "trl")["messages"]] == ["system", "user", "assistant"]
    parts = chat(talk, "transformers")["messages"]
    assert [len(message["content"]) for message in parts] == [1, 2, 1]
    with pytest.raises(LeftOut, match="system-turn"):
        chat(talk, "llava")


@pytest.mark.parametrize(
    ("changes", "options", "reason"),
    [
        ({"messages": []}, {}, "turns-not-alternating"),
        (
            {
                "messages": [
                    {"role": "user", "content": "<image> what?"},
                    {"role": "assistant", "content": "x"},
                ]
            },
            {},
            "placeholder",
        ),
        (
            {"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}]},
            {},
            "turn-empty",
        ),
        ({"box_frame": "unknown"}, {"target": "qwen3-vl"}, "frame-unknown"),
        ({"image": None}, {}, "image-missing"),
        ({"image": {"bytes": None, "path": "a.jpg"}}, {}, "image-missing"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_rows_that_would_lie_are_left_out(form, changes, options, reason):
    """A row that cannot be told truthfully raises the reason, in every form."""
    with pytest.raises(LeftOut, match=reason):
        chat(row(**changes), form, **options)


def test_bad_arguments_are_named():
    """An unknown form or model lists those that exist; a broken image names its row."""
    with pytest.raises(UnknownNameError, match="trl-prompt"):
        chat(row(), "chatml")
    with pytest.raises(UnknownNameError, match="internvl"):
        chat(row(), "trl", target="gpt")
    with pytest.raises(ImageError, match="irtd/instruct/grounding/7"):
        chat(row(image=b"<html>"), "trl")


def test_images_in_any_form():
    """Bytes, a struct with bytes, a Pillow image and an array give the same image."""
    buffer = io.BytesIO()
    Image.fromarray(row()["image"]).save(buffer, "PNG")
    given = [
        row()["image"],
        buffer.getvalue(),
        {"bytes": buffer.getvalue(), "path": None},
        Image.fromarray(row()["image"]),
    ]
    pixels = {chat(row(image=one), "trl")["images"][0].tobytes() for one in given}
    assert len(pixels) == 1


def test_transform_can_be_sent_to_workers():
    """The transform is a value: a worker that unpickles it gives the same."""
    transform = pickle.loads(pickle.dumps(chat_transform("trl", target="internvl")))
    assert transform(row())["messages"] == chat(row(), "trl", target="internvl")["messages"]


def tiny_processor():
    """A LLaVA processor with a word-level tokenizer, made here: no download."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [
        "<unk>",
        "<pad>",
        "<image>",
        "USER:",
        "ASSISTANT:",
        "</s>",
        *"abcdefghijklmnopqrstuvwxyz0123456789[]<>/.,_",
    ]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="</s>",
        additional_special_tokens=["<image>", "USER:", "ASSISTANT:"],
    )
    template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}USER:{% else %}ASSISTANT:{% endif %}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
        "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    )
    images = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    return transformers.LlavaProcessor(
        image_processor=images(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=fast,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def test_transformers_processor_takes_the_messages():
    """`apply_chat_template` of a real processor makes tokens and pixels of the form ``transformers``."""
    processor = tiny_processor()
    made = processor.apply_chat_template(
        chat(row(), "transformers")["messages"], tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert made["pixel_values"].shape == (1, 3, 28, 28)
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert (made["input_ids"] == image).sum() == 4  # 2 x 2 patches


@pytest.mark.parametrize("form", ["trl", "trl-prompt"])
def test_trl_collator_takes_the_rows(form):
    """TRL's own vision collator makes a batch with pixels and labels."""
    processor = tiny_processor()
    trainer = pytest.importorskip("trl.trainer.sft_trainer", reason="trl is not installed")
    collate = trainer.DataCollatorForVisionLanguageModeling(processor, max_length=None)
    batch = collate([chat(row(), form), chat(row(image=np.zeros((30, 40, 3), np.uint8)), form)])
    assert batch["pixel_values"].shape == (2, 3, 28, 28)
    assert batch["labels"].shape == batch["input_ids"].shape
    assert (batch["labels"] != -100).any()
