"""Seeded data every stand-in agrees on: what is sold, and who buys. Same seed, same data, in every process."""

from __future__ import annotations

import random
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

SHOP_CURRENCY = "EUR"
SHOP_PRODUCTS = 40


class Variant(msgspec.Struct, frozen=True):
    sku: str
    title: str
    price: Decimal  # in the shop's currency
    weight_g: int


class Product(msgspec.Struct, frozen=True):
    handle: str
    title: str
    vendor: str
    kind: str
    variants: tuple[Variant, ...]


class Buyer(msgspec.Struct, frozen=True):
    first_name: str
    last_name: str
    email: str
    phone: str
    address1: str
    city: str
    zip: str
    province: str
    province_code: str
    country: str
    country_code: str
    currency: str


GOODS = ("Teapot", "Notebook", "Lamp", "Backpack", "Blanket", "Kettle", "Chair", "Bottle", "Headphones", "Candle")
MATERIALS = ("Oak", "Linen", "Copper", "Café", "Glass", "Wool", "Übergroß", "Bamboo", "Señorita", "Slate")
VENDORS = ("Nordlys", "Atelier Zoë", "Kāhua", "Müller & Söhne", "東京工房")
SIZES = (("S", Decimal("0.90")), ("M", Decimal("1.00")), ("L", Decimal("1.25")))

# Cities with their own writing: names, streets and digits as people there write them.
_PLACES = (
    # first names, last names, street, city, postal code, province, its code, country, its code, currency, phone prefix
    (
        ("Ada", "Grace", "O'Neil"),
        ("Lovelace", "Hopper", "Smith-Jones"),
        "12 St James's Sq",
        "London",
        "SW1Y 4JH",
        "England",
        "ENG",
        "United Kingdom",
        "GB",
        "GBP",
        "+4420",
    ),
    (
        ("Zoë", "François", "Anaïs"),
        ("Lefèvre", "Noël", "D’Artagnan"),
        "7 rue de l'Église",
        "Orléans",
        "45000",
        "",
        "",
        "France",
        "FR",
        "EUR",
        "+3323",
    ),
    (
        ("Jürgen", "Käthe", "Björn"),
        ("Groß", "Müller", "Weiß"),
        "Königstraße 5",
        "Düsseldorf",
        "40212",
        "",
        "",
        "Germany",
        "DE",
        "EUR",
        "+4921",
    ),
    (
        ("محمد", "فاطمة", "ليلى"),
        ("الخوارزمي", "حسن", "منصور"),
        "شارع التحرير ١٢",
        "القاهرة",
        "11511",
        "Cairo",
        "C",
        "Egypt",
        "EG",
        "EGP",
        "+2022",
    ),
    (
        ("נועה", "דוד", "יעל"),
        ("כהן", "לוי", "מזרחי"),
        "רחוב הרצל 3",
        "תל אביב",
        "6688210",
        "",
        "",
        "Israel",
        "IL",
        "ILS",
        "+9723",
    ),
    (
        ("さくら", "健太", "葵"),
        ("山田", "佐藤", "鈴木"),
        "千代田1-1",
        "東京都",
        "100-0001",
        "Tōkyō",
        "JP-13",
        "Japan",
        "JP",
        "JPY",
        "+8130",
    ),
    (
        ("Nguyễn", "Thị Ánh", "Đức"),
        ("Trần", "Phạm", "Lê"),
        "12 Lê Lợi",
        "Hà Nội",
        "100000",
        "",
        "",
        "Vietnam",
        "VN",
        "VND",
        "+8424",
    ),
    (
        ("Łucja", "Żaneta", "Stanisław"),
        ("Wójcik", "Kowalczyk", "Zając"),
        "ul. Świętokrzyska 9",
        "Łódź",
        "90-001",
        "",
        "",
        "Poland",
        "PL",
        "PLN",
        "+4842",
    ),
    (
        ("Luna 🌙", "Max", "Sky ✨"),
        ("O’Brien", "García-López", "Li"),
        "500 5th Ave #12",
        "New York",
        "10110",
        "New York",
        "NY",
        "United States",
        "US",
        "USD",
        "+1212",
    ),
)

# Units of each currency for one unit of the shop's, and its decimal places (ISO 4217).
RATES = {
    "EUR": (Decimal(1), 2), "GBP": (Decimal("0.8412"), 2), "USD": (Decimal("1.0875"), 2), "EGP": (Decimal("52.31"), 2),
    "ILS": (Decimal("3.9821"), 2), "JPY": (Decimal("163.27"), 0), "VND": (Decimal("27315"), 0), "PLN": (Decimal("4.2613"), 2),
}  # fmt: skip


def exchange(amount: Decimal, currency: str) -> Decimal:
    """The shop's money in another currency, rounded half to even at the currency's own places."""
    rate, places = RATES[currency]
    return (amount * rate).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)


def products(seed: int) -> list[Product]:
    dice = random.Random(f"{seed}:products")
    found = []
    for number in range(SHOP_PRODUCTS):
        goods, material = GOODS[number % len(GOODS)], MATERIALS[(number // len(GOODS) + number) % len(MATERIALS)]
        base = Decimal(dice.randrange(350, 24_000)) / 100
        code = f"{goods[:3].upper()}-{number + 1:03d}"
        variants = tuple(
            Variant(f"{code}-{size}", size, (base * factor).quantize(Decimal("0.01")), dice.randrange(50, 4_000))
            for size, factor in SIZES[: 1 + number % 3]
        )
        title = f"{material} {goods}"
        found.append(Product(f"{goods}-{number + 1}".lower(), title, VENDORS[number % len(VENDORS)], goods, variants))
    return found


def variants(seed: int) -> list[Variant]:
    return [variant for product in products(seed) for variant in product.variants]


def buyer(seed: int, number: int) -> Buyer:
    """The buyer of this number; e-mail addresses differ for every number."""
    dice = random.Random(f"{seed}:buyer:{number}")
    firsts, lasts, street, city, zip_code, province, province_code, country, code, currency, phone = dice.choice(
        _PLACES
    )
    return Buyer(
        dice.choice(firsts),
        dice.choice(lasts),
        f"buyer{number}@customers.example",
        f"{phone}{dice.randrange(1_000_000, 9_999_999)}",
        street,
        city,
        zip_code,
        province,
        province_code,
        country,
        code,
        currency,
    )
