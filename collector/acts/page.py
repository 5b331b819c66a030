"""An act as one A4 page that one is glad to sign: every field of it, a QR code with its number and hash, signatures.

Rule 1. Everything that is signed stands on the page, and on one page: what does not fit at full size is set smaller,
        and never left out.
Rule 2. The same act gives the same bytes, in each language.
Rule 3. A character that the font lacks is shown as an empty box: the hash covers the text as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path

from reportlab.graphics.barcode.qr import QrCodeWidget
from reportlab.graphics.shapes import Drawing
from reportlab.lib.colors import Color, black, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, Spacer, Table

from collector.acts.page_texts import Cell, Sheet, sheet
from collector.model_act import Act, Language

FONTS = Path(__file__).resolve().parent / "fonts"
PLAIN, BOLD = "DejaVuSansCondensed", "DejaVuSansCondensed-Bold"
MARGIN, EDGE, WIDTH = 16 * mm, 12 * mm, A4[0] - 32 * mm  # at the sides, above and below; printers take 5 mm
GREY, RULE, SHADE = Color(0.38, 0.38, 0.38), Color(0.72, 0.72, 0.72), Color(0.95, 0.95, 0.95)
QR = 27 * mm  # version 5 to 6 of 41 modules: 0.65 mm each, which a telephone reads from a hand's breadth
# Body sizes in points, the largest first: that at which the page holds all of it counts. The smallest is for an act
# that is full in all its fields at once; one of every day is set in nine.
SIZES = tuple(size / 4 for size in range(38, 18, -1))


def page(act: Act, language: Language) -> bytes:
    """The PDF. Raises ValueError for an act that no page holds even in the smallest size."""
    _fonts()
    content = sheet(act, language)
    laid = _Page(content, SIZES[-1])
    if not laid.fits():
        raise ValueError(f"act {act.number} does not go onto one page")
    low, high = 0, len(SIZES) - 1  # what fits at one size fits at all smaller ones
    while low < high:
        middle = (low + high) // 2
        tried = _Page(content, SIZES[middle])
        if tried.fits():
            laid, high = tried, middle
        else:
            low = middle + 1
    return laid.draw()


@lru_cache
def _fonts() -> frozenset[int]:
    """Make the fonts known; the characters that they have."""
    for name in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(FONTS / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)
    return frozenset(pdfmetrics.getFont(PLAIN).face.charToGlyph)


def shown(text: str) -> str:
    """The text as the page can show it, safe for a paragraph."""
    known = _fonts()
    return escape("".join(sign if ord(sign) in known else "\N{WHITE SQUARE}" for sign in text), quote=False)


class _Page:
    """The page at one body size (points)."""

    def __init__(self, content: Sheet, size: float) -> None:
        self._content, self._size = content, size
        self._gap = size * 0.55
        self._body = self._flow()
        self._foot = self._footer()

    def fits(self) -> bool:
        """Whether head, body and foot go onto one page."""
        room: float = A4[1] - 2 * EDGE
        return sum(map(self._height, (self._head(), self._body, self._foot))) <= room

    def draw(self) -> bytes:
        """The bytes of the PDF."""
        out = BytesIO()
        canvas = Canvas(out, pagesize=A4, invariant=1, pageCompression=1)
        canvas.setTitle(f"{self._content.title} {self._content.number}")
        canvas.setSubject(self._content.hash)
        canvas.setCreator("Meterline")
        top = A4[1] - EDGE
        for part in (*self._head(), *self._body):
            top -= self._put(canvas, part, top)
        bottom = EDGE + self._height(self._foot)
        for part in self._foot:
            bottom -= self._put(canvas, part, bottom)
        canvas.showPage()
        canvas.save()
        return out.getvalue()

    def _put(self, canvas: Canvas, part: Flowable, top: float) -> float:
        _, height = part.wrap(WIDTH, A4[1])
        part.drawOn(canvas, MARGIN, top - height)
        return float(height)

    def _height(self, parts: Sequence[Flowable]) -> float:
        return float(sum(part.wrap(WIDTH, A4[1])[1] for part in parts))

    # ------------------------------------------------------------------------- styles

    def _text(
        self, text: str, *, size: float = 1.0, bold: bool = False, color: Color = black, align: int = 0
    ) -> Paragraph:
        points = self._size * size
        style = ParagraphStyle(
            "text", fontName=BOLD if bold else PLAIN, fontSize=points, leading=points * 1.22, textColor=color,
            alignment=align, splitLongWords=1,
        )  # fmt: skip
        return Paragraph(shown(text) or "\N{NO-BREAK SPACE}", style)

    def _label(self, text: str) -> Paragraph:
        return self._text(text, size=0.78, color=GREY)

    def _heading(self, text: str) -> Table:
        table = Table([[self._text(text, size=1.02, bold=True)]], colWidths=[WIDTH])
        pad = self._size * 0.2
        table.setStyle([
            ("LINEABOVE", (0, 0), (-1, 0), 0.6, black), ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), pad * 1.6), ("BOTTOMPADDING", (0, 0), (-1, -1), pad),
        ])  # fmt: skip
        return table

    # ------------------------------------------------------------------------- parts

    def _head(self) -> list[Flowable]:
        content = self._content
        left = [
            self._text(content.title, size=1.75, bold=True),
            Spacer(1, self._size * 0.5),
            self._text(f"{content.words['number']} {content.number}", size=1.35, bold=True),
            Spacer(1, self._size * 0.35),
            self._text(content.made),
            self._text(content.place),
        ]
        widget = QrCodeWidget(f"{content.number} {content.hash}", barLevel="M")
        x0, y0, x1, y1 = widget.getBounds()
        code = Drawing(QR, QR, transform=[QR / (x1 - x0), 0, 0, QR / (y1 - y0), 0, 0])
        code.add(widget)
        table = Table([[left, code]], colWidths=[WIDTH - QR, QR])
        table.setStyle([
            ("VALIGN", (0, 0), (0, 0), "TOP"), ("VALIGN", (1, 0), (1, 0), "TOP"), ("ALIGN", (1, 0), (1, 0), "RIGHT"),
            *_PADLESS,
        ])  # fmt: skip
        return [table, Spacer(1, self._gap)]

    def _flow(self) -> list[Flowable]:
        content = self._content
        parts: list[Flowable] = [self._decision(), Spacer(1, self._gap)]
        for section in content.sections:
            parts.append(self._heading(section.title))
            if section.cells:
                parts.append(self._grid(section.cells))
            if section.table:
                parts.append(self._table(section.table, section.widths))
            parts.append(Spacer(1, self._gap))
        return parts

    def _decision(self) -> Table:
        content = self._content
        rows = [[self._text(content.decision, size=1.4, bold=True)]]
        rows += [[self._text(line)] for line in content.grounds]
        table = Table(rows, colWidths=[WIDTH])
        style = [
            ("BOX", (0, 0), (-1, -1), 1.1, black), ("LEFTPADDING", (0, 0), (-1, -1), self._size * 0.8),
            ("TOPPADDING", (0, 0), (-1, 0), self._size * 0.45), ("TOPPADDING", (0, 1), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), self._size * 0.2),
            ("BOTTOMPADDING", (0, -1), (-1, -1), self._size * 0.6),
            ("BACKGROUND", (0, 0), (-1, -1), white if content.admitted else SHADE),
        ]  # fmt: skip
        table.setStyle(style)
        return table

    def _grid(self, cells: Sequence[Cell]) -> Table:
        """Label over value, in rows of twelfths."""
        rows: list[list[list[Flowable] | str]] = []
        spans = []
        used = 12
        for cell in cells:
            if used + cell.width > 12:
                rows.append([""] * 12)
                used = 0
            value = self._text(cell.value, bold=cell.strong)
            rows[-1][used] = [self._label(cell.label), value] if cell.label else [value]
            spans.append(("SPAN", (used, len(rows) - 1), (used + cell.width - 1, len(rows) - 1)))
            used += cell.width
        table = Table(rows, colWidths=[WIDTH / 12] * 12)
        table.setStyle([
            *spans, ("VALIGN", (0, 0), (-1, -1), "TOP"), *_PADLESS,
            ("RIGHTPADDING", (0, 0), (-1, -1), self._size * 0.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), self._size * 0.28),
        ])  # fmt: skip
        return table

    def _table(self, rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
        """A header and rows; columns of a name `>` are set to the right."""
        right = [name.startswith(">") for name in rows[0]]
        cells = [[self._label(name.lstrip(">")) if not r else self._text(name[1:], size=0.78, color=GREY, align=2)
                  for name, r in zip(rows[0], right, strict=True)]]  # fmt: skip
        cells += [
            [self._text(text, align=2 if r else 0) for text, r in zip(row, right, strict=True)] for row in rows[1:]
        ]
        table = Table(cells, colWidths=[WIDTH * width / sum(widths) for width in widths])
        pad = self._size * 0.16
        behind = [
            ("LEFTPADDING", (place, 0), (place, -1), self._size * 1.2)
            for place in range(1, len(right))
            if right[place - 1] and not right[place]
        ]
        table.setStyle([
            ("LINEBELOW", (0, 0), (-1, -2), 0.3, RULE), ("VALIGN", (0, 0), (-1, -1), "TOP"), *_PADLESS,
            ("TOPPADDING", (0, 0), (-1, -1), pad), ("BOTTOMPADDING", (0, 0), (-1, -1), pad),
            ("RIGHTPADDING", (0, 0), (-1, -1), self._size * 0.5), *behind,
        ])  # fmt: skip
        return table

    def _footer(self) -> list[Flowable]:
        """Signatures, and under them what binds the paper to the file."""
        content = self._content
        rows = [[
            [self._label(role), self._text(name)], self._label(content.words["signature"]), "",
        ] for role, name in content.persons]  # fmt: skip
        table = Table(rows, colWidths=[WIDTH * 0.5, WIDTH * 0.14, WIDTH * 0.36])
        table.setStyle([
            ("VALIGN", (0, 0), (-1, -1), "BOTTOM"), ("LINEBELOW", (2, 0), (2, -1), 0.5, black), *_PADLESS,
            ("TOPPADDING", (0, 0), (-1, -1), self._size * 0.75),
        ])  # fmt: skip
        small = [self._text(line, size=0.72, color=GREY) for line in content.small]
        return [self._heading(content.words["persons"]), table, Spacer(1, self._gap), *small]


_PADLESS = [
    (f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")
]  # fmt: skip
