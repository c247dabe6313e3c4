"""Personal data in a text, replaced by what kind of data it was.

    [EMAIL]  an address, also written as "ann (at) example dot org"
    [IBAN]   a bank account whose check digits are right
    [CARD]   a payment card: a known prefix and length, and Luhn's check digit
    [IP]     an IPv4 or IPv6 address
    [PHONE]  a number that is valid in its country (with a +) or in one of the regions given
    [NAME]   one of the names given

What is not found: names that were not given, postal addresses, dates of birth, national identity
numbers, user names and handles, licence plates, numbers spelt out in words, local numbers without
an area code, and a phone number in one run of digits that no word such as "call" introduces.
Order numbers, prices, dates and versions are meant to stay; ``benchmarks/personal.py`` measures
both sides. A redacted text is therefore safer, not anonymous.

The work grows with a text's length and no faster, whatever stands in it. A text that is made to
be costly loses more than it must: beyond `MOST_CHECKED` numbers whatever looks like a phone number
counts as one, and a part that still holds data after `MOST_LOOKS` looks becomes one placeholder.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn

from flywheel.text.normalize import visible

KINDS = ("EMAIL", "IBAN", "CARD", "IP", "PHONE", "NAME")
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "IN", "AU", "BR")
"""Where a phone number without a country code may be from."""
MOST_CHECKED = 20
"""Numbers of one text that are checked against their countries' numbering plans: the slow part."""
MOST_LOOKS = 6
"""How often one part of a text is looked at: a replacement may uncover its neighbour."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Redacted:
    """A text without the personal data that was found, and one kind for each replacement.

    ``looked_at`` counts characters, each as often as it was looked at, and ``checked`` numbers.
    """

    text: str = field(repr=False)
    found: tuple[str, ...] = ()
    looked_at: int = field(default=0, repr=False, compare=False)
    checked: int = field(default=0, repr=False, compare=False)


def redact(text: str, *, names: Sequence[str] = (), regions: Sequence[str] = REGIONS) -> Redacted:
    """Replace personal data by ``[KIND]``, for the kinds of this module's table.

    Idempotent: a placeholder is never looked into, and what is left of a text holds nothing that
    would be found in a second pass. Never raises.

    Args:
        text: Any string.
        names: Names of the people involved, matched as whole words whatever their case; each as
            given, so pass "Ann Lee", "Ann" and "Lee" to find all three. Names of fewer than three
            letters are ignored.
        regions: Two-letter codes of the countries to expect phone numbers from.
    """
    found = _redact(text, names, regions)
    plain = visible(found.text)
    if plain == found.text:
        return found
    # an invisible character within an address hides it from programs, and from no reader
    hidden = _redact(plain, [visible(name) for name in names], regions)
    if not hidden.found:
        return found
    return Redacted(
        hidden.text,
        found.found + hidden.found,
        found.looked_at + hidden.looked_at,
        found.checked + hidden.checked,
    )


def _redact(text: str, names: Sequence[str], regions: Sequence[str]) -> Redacted:
    by_name = _any_of(tuple(names)) if names else None
    if not _may_hold_data(text) and (by_name is None or not by_name.search(text)):
        return Redacted(text)
    work = _Work(tuple(regions))
    found: list[str] = []
    parts = [_redacted(piece, by_name, work, found) for piece in _PLACEHOLDER.split(text)]
    return Redacted("".join(parts), tuple(found), work.looked_at, work.checked)


def _redacted(
    piece: str, names: re.Pattern[str] | None, work: _Work, found: list[str], looks: int = 1
) -> str:
    """A text without placeholders, with what is found in it replaced; notes the kinds.

    What is left between two replacements is looked at again, for it stands alone now.
    """
    work.looked_at += len(piece)
    spans = _spans(piece, names, work)
    if not spans:
        return piece
    if looks == MOST_LOOKS:
        found.append(spans[0][2])
        return f"[{spans[0][2]}]"
    parts: list[str] = []
    end = 0
    for start, stop, kind in spans:
        parts += (_redacted(piece[end:start], names, work, found, looks + 1), f"[{kind}]")
        found.append(kind)
        end = stop
    parts.append(_redacted(piece[end:], names, work, found, looks + 1))
    return "".join(parts)


def _spans(text: str, names: re.Pattern[str] | None, work: _Work) -> list[tuple[int, int, str]]:
    """Where personal data is, in order and without overlaps; earlier kinds have precedence."""
    if _PLACEHOLDER.fullmatch(text):
        return []
    spans: list[tuple[int, int, str]] = []
    taken = bytearray(len(text))

    def take(found: Iterable[Span], kind: str) -> None:
        for start, stop in found:
            if 1 not in taken[start:stop]:
                taken[start:stop] = b"\1" * (stop - start)
                spans.append((start, stop, kind))

    take(_emails(text), "EMAIL")
    if text.count(".") >= 3 or text.count(":") >= 2:
        take(_addresses(text), "IP")
    if len(_DIGIT.findall(text)) >= 7:
        take(_ibans(text), "IBAN")
        take(_cards(text), "CARD")
        take((match.span() for match in _ELSE.finditer(text)), _KEPT)
        take(_phones(text, work), "PHONE")
    if names is not None:
        take((match.span() for match in names.finditer(text)), "NAME")
    return sorted(span for span in spans if span[2] != _KEPT)


_KEPT = ""
_PLACEHOLDER = re.compile(rf"(\[(?:{'|'.join(KINDS)})\])")
_DIGIT = re.compile(r"\d")
_PLAIN_DIGIT_OR_AT = re.compile(r"[0-9@]")
_DIGIT_OR_AT = re.compile(r"[\d@\uff20]")


def _may_hold_data(text: str) -> bool:
    """Rule out most texts in about a microsecond."""
    plain = _PLAIN_DIGIT_OR_AT if text.isascii() else _DIGIT_OR_AT
    return plain.search(text) is not None or _may_spell_out(text)


def _may_spell_out(text: str) -> bool:
    return ")" in text or "]" in text or "}" in text or "dot" in text or "DOT" in text


# Addresses for mail

_LOCAL = r"(?<![\w.+%-])\w[\w.+%'-]{0,63}"
_LABEL = r"[^\W_](?:[\w-]{0,62})"
_FILE = r"(?!(?:png|jpe?g|gif|svg|webp|avif|pdf)\b)"  # logo@2x.png
_MAIL = re.compile(
    rf"{_LOCAL}(?:[@\uff20]|%40)(?:{_LABEL}\.){{1,8}}{_FILE}(?:xn--[a-z0-9-]{{2,59}}|[^\W\d_]{{2,24}})(?![\w@])",
    re.IGNORECASE,
)
_DOT = r"(?:\s?\.\s?|\s?[(\[{]\s?(?:dot|\.)\s?[)\]}]\s?|\s(?:dot|punkt|punto)\s)"
_MAIL_IN_BRACKETS = re.compile(
    rf"{_LOCAL}(?:{_DOT}\w{{1,64}}){{0,3}}\s?[(\[{{]\s?(?:at|@|ät|arroba)\s?[)\]}}]\s?"
    rf"{_LABEL}(?:{_DOT}{_LABEL}){{0,4}}{_DOT}[^\W\d_]{{2,24}}(?!\w)",
    re.IGNORECASE,
)
_MAIL_IN_WORDS = re.compile(  # "look at polka dot prints" is none, hence few endings
    rf"{_LOCAL}(?:\sdot\s\w{{1,64}}){{0,3}}\sat\s{_LABEL}(?:\sdot\s{_LABEL}){{0,3}}"
    r"\sdot\s(?:com|org|net|edu|gov|info|io|co|eu|de|fr|es|it|nl|uk|ch|at|se|pl|in|au|br)(?!\w)",
    re.IGNORECASE,
)


def _emails(text: str) -> Iterator[Span]:
    patterns = [_MAIL] if "@" in text or "\uff20" in text or "%40" in text else []
    if _may_spell_out(text):
        patterns += (_MAIL_IN_BRACKETS, _MAIL_IN_WORDS)
    for pattern in patterns:
        for match in pattern.finditer(text):
            yield match.span()


# Accounts and cards

_GAP = r"[ \u00a0\u202f-]?"
_IBAN = re.compile(rf"(?<!\w)[A-Z]{{2}}{_GAP}\d{{2}}(?:{_GAP}[A-Z0-9]){{11,30}}", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.,+])\d(?:[ \u00a0\u202f.-]?\d){13,60}(?!\w|[.,]\d)")
_GROUP = re.compile(r"\d+")
_ISSUERS = re.compile(  # only the lengths in use: an EAN has 13 digits, a tracking number 17 to 22
    r"4(?:\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|6\d)\d{11}|(?:3[89]|62)(?:\d{14}|\d{17})|220[0-4]\d{12}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|(?:5[068]|6[37])(?:\d{14}|\d{17})"
)


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):
        # What follows an account may look like more of it; its country's length decides.
        for stop in range(match.end(), match.start() + 14, -1):
            whole = stop == len(text) or not text[stop].isalnum()
            if whole and text[stop - 1].isalnum() and _is_iban(text[match.start() : stop]):
                yield match.start(), stop
                break


def _is_iban(number: str) -> bool:
    compact = re.sub(_GAP, "", number)
    return compact.isascii() and bool(iban.is_valid(compact, check_country=False))


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *match.span())]
        end = 0
        for first, (start, _) in enumerate(groups):
            for stop in _ends_of_cards(groups[first : first + 19]):
                if start >= end and _is_card(text[start:stop]):
                    yield start, stop
                    end = stop
                    break


def _ends_of_cards(groups: Sequence[Span]) -> Iterator[int]:
    """Where groups of digits make as many as a card has."""
    digits = 0
    for start, stop in groups:
        digits += stop - start
        if 14 <= digits <= 19:
            yield stop


def _is_card(number: str) -> bool:
    digits = "".join(str(int(letter)) for letter in number if letter.isdecimal())
    return bool(_ISSUERS.fullmatch(digits) and luhn.is_valid(digits))


# Addresses of machines

_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-f]{0,4})(?![\w:])",
    re.IGNORECASE,
)
_VERSION = re.compile(r"(?:version|release|build|firmware|driver|update|app|ver|v)[.:]?\s*$", re.I)


def _addresses(text: str) -> Iterator[Span]:
    for pattern in (_IPV6, _IPV4):
        for match in pattern.finditer(text):
            if _is_address(match.group()) and not _VERSION.search(_before(text, match.start())):
                yield match.span()


def _is_address(written: str) -> bool:
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified) and bool(_DIGIT.search(written))


# Phone numbers

_DAY, _MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_QUARTER = r"(?:[01]\d|2[0-4])(?:00|15|30|45)"
_ELSE = re.compile(  # dates, with a time or without, ZIP+4, hours, and decimal numbers
    rf"(?<![\w.+-])(?:(?<![\d)][ -])\d{{5}}-\d{{4}}|(?:19|20)\d\d([-/.]){_MONTH}\1{_DAY}"
    rf"|(?:{_DAY}([-/.]){_MONTH}|{_MONTH}([-/.]){_DAY})(?:\2|\3)(?:19|20)?\d\d)"
    r"(?:[ T]\d\d?:\d\d(?::\d\d)?)?(?![\w-]|\.\d)"
    rf"|(?<![\w.+)-])(?<![\d)] ){_QUARTER}\s?[-\u2013]\s?{_QUARTER}(?![\w-]| \d|\.\d)"
    r"|(?<![\w.+)-])(?<![\d)] )(?:[02-9]\.\d{4,}|1\.(?!\d{10}(?!\d))\d{4,})(?![\w-]| \d|\.\d)"
)
_PHONE = re.compile(
    r"(?<![\w$€£#@.,:/-])(?<!\d[ -])[+\uff0b(]{0,2}"
    r"\d(?:[ \t\u00a0\u202f().\-/\u2010-\u2013]{0,2}\d){6,16}"
    r"(?:\s?(?:ext\.?|extension|x)\s?\d{1,5})?(?!\w|[ -]?\d|[.,:]\d|\s?[€$£%])"
)
_CALLED = re.compile(
    r"phone|my number|call|\btel|mobile|\bcell|whats|sms|text me|\breach|\bring|\bfax|contact|dial|"
    r"signal|handy|telefon|\banruf|\brufen|appele|tél|portable|móvil|movil|llam|chiam|cellulare|\bbel\b|"
    r"ligu|celular",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?:order|invoice|ticket|case|ref|reference|refs|id|no|nr|number|numero|num|tracking|parcel|"
    r"shipment|serial|sku|part|model|item|account|customer|booking|contract|policy|isbn|ean|upc|"
    r"barcode|article|code|batch|lot|zip|bestellung|rechnung|commande|pedido)\b"
    r"(?:\W{0,3}\b(?:number|no|nr|is|was)\b)*[^\w\n]{0,4}$",
    re.IGNORECASE,
)
_MONEY = (
    r"(?:[$€£¥₹]|\b(?:EUR|USD|GBP|CHF|INR|AUD|BRL|JPY|SEK|PLN|Rs|euros?|dollars?|pounds?|rupees?)"
    r"\b)"
)
_PRICED = re.compile(rf"{_MONEY}\.?[:\s]?\s?$", re.IGNORECASE)
_IN_MONEY = re.compile(rf"\s?{_MONEY}", re.IGNORECASE)


@dataclass
class _Work:
    """What was done for one text, whose phone numbers may be from ``regions``."""

    regions: tuple[str, ...]
    looked_at: int = 0
    checked: int = 0

    def phone_in(self, written: str) -> Span | None:
        """Where a phone number stands in a run of digits; unchecked, all of it is one."""
        if self.checked == MOST_CHECKED:
            return 0, len(written)
        self.checked += 1
        return _valid_number(written, self.regions)


def _phones(text: str, work: _Work) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        written = match.group()
        if _IPV4.fullmatch(written):
            continue
        if written[0].isdecimal() and _is_priced(text, *match.span()):
            continue
        if _is_introduced(written, _before(text, match.start())):
            span = work.phone_in(written)
            if span is not None:
                yield match.start() + span[0], match.start() + span[1]


def _is_priced(text: str, start: int, stop: int) -> bool:
    """Whether a currency stands before or behind a number."""
    return bool(_PRICED.search(_before(text, start)) or _IN_MONEY.match(text, stop))


def _is_introduced(written: str, before: str) -> bool:
    """Whether the words before a number, or how it is written, let it be a phone number."""
    if written[0] in "+\uff0b" or _CALLED.search(before):
        return True
    if _NUMBERED.search(before):
        return False
    return written[0] in "(0" or not written.isdecimal()


def _valid_number(written: str, regions: tuple[str, ...]) -> Span | None:
    abroad = "+" in written or "\uff0b" in written
    for region in (None,) if abroad else regions:
        matches = PhoneNumberMatcher(written, region, leniency=Leniency.VALID)
        for match in matches:
            start, stop = match.start, match.end
            start += written[start] == "(" and ")" not in written[start:stop]
            # A valid number inside a longer one is chance.
            if not _DIGIT.search(written, 0, start) and not _DIGIT.search(written, stop):
                return start, stop
    return None


def _before(text: str, at: int) -> str:
    return text[max(0, at - 30) : at]


# Names


@lru_cache(maxsize=1024)
def _any_of(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """A pattern for any of the names, the longest first; None when none is long enough."""
    long = {name.strip() for name in names if sum(map(str.isalpha, name)) >= 3}
    if not long:
        return None
    written = (
        r"\s+".join(map(re.escape, name.split())) for name in sorted(long, key=len, reverse=True)
    )
    return re.compile(rf"(?<!\w)(?:{'|'.join(written)})(?!\w)", re.IGNORECASE)
