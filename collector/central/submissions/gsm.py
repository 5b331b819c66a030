"""How long a text message is, and whether one message holds it: 3GPP TS 23.038 (alphabets), TS 23.040 (140 octets)."""

from __future__ import annotations

# 3GPP TS 23.038, 6.2.1: the default alphabet, seven bits a character; and 6.2.1.1: its extension, two of them.
DEFAULT = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
SEPTETS = 160  # 140 octets of eight bits
UCS2 = 70  # 140 octets of sixteen bits


def room(text: str) -> tuple[int, int]:
    """How many units a message takes and how many one message has: septets or, for any other alphabet, UTF-16 units."""
    if all(character in DEFAULT or character in EXTENSION for character in text):
        return sum(2 if character in EXTENSION else 1 for character in text), SEPTETS
    return len(text.encode("utf-16-be")) // 2, UCS2
