//! Months, currencies, units.

/// Month names; the abbreviation is the first three letters.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Days of each month, February with the 29th.
pub const MONTH_DAYS: [u64; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// How a currency is written and spoken.
#[derive(Debug, PartialEq, Eq)]
pub struct Currency {
    pub symbol: &'static str,
    pub code: &'static str,
    /// Singular and plural of the whole unit.
    pub major: [&'static str; 2],
    /// Singular and plural of the hundredth after a whole amount; empty where there is none.
    pub minor: [&'static str; 2],
    /// The same where the hundredths stand alone, so that "fifty cents" has one meaning.
    pub alone: [&'static str; 2],
}

pub static CURRENCIES: [Currency; 4] = [
    Currency {
        symbol: "$",
        code: "USD",
        major: ["dollar", "dollars"],
        minor: ["cent", "cents"],
        alone: ["cent", "cents"],
    },
    Currency {
        symbol: "€",
        code: "EUR",
        major: ["euro", "euros"],
        minor: ["cent", "cents"],
        alone: ["euro cent", "euro cents"],
    },
    Currency {
        symbol: "£",
        code: "GBP",
        major: ["pound", "pounds"],
        minor: ["penny", "pence"],
        alone: ["penny", "pence"],
    },
    Currency { symbol: "¥", code: "JPY", major: ["yen", "yen"], minor: ["", ""], alone: ["", ""] },
];

/// How a unit is written and spoken. There is no pound of mass: "five pounds" is money here.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// The canonical symbol.
    pub symbol: &'static str,
    /// Another spelling that readers meet, or the symbol again.
    pub alias: &'static str,
    pub singular: &'static str,
    pub plural: &'static str,
}

const fn unit(
    symbol: &'static str,
    alias: &'static str,
    singular: &'static str,
    plural: &'static str,
) -> Unit {
    Unit { symbol, alias, singular, plural }
}

pub static UNITS: [Unit; 38] = [
    unit("km", "km", "kilometer", "kilometers"),
    unit("m", "m", "meter", "meters"),
    unit("cm", "cm", "centimeter", "centimeters"),
    unit("mm", "mm", "millimeter", "millimeters"),
    unit("mi", "mi", "mile", "miles"),
    unit("ft", "ft", "foot", "feet"),
    unit("yd", "yd", "yard", "yards"),
    unit("kg", "kg", "kilogram", "kilograms"),
    unit("g", "g", "gram", "grams"),
    unit("mg", "mg", "milligram", "milligrams"),
    unit("oz", "oz", "ounce", "ounces"),
    unit("L", "l", "liter", "liters"),
    unit("mL", "ml", "milliliter", "milliliters"),
    unit("km/h", "kph", "kilometer per hour", "kilometers per hour"),
    unit("mph", "mph", "mile per hour", "miles per hour"),
    unit("m/s", "m/s", "meter per second", "meters per second"),
    unit("°C", "°C", "degree celsius", "degrees celsius"),
    unit("°F", "°F", "degree fahrenheit", "degrees fahrenheit"),
    unit("%", "%", "percent", "percent"),
    unit("W", "W", "watt", "watts"),
    unit("kW", "kW", "kilowatt", "kilowatts"),
    unit("kWh", "kWh", "kilowatt hour", "kilowatt hours"),
    unit("V", "V", "volt", "volts"),
    unit("Hz", "Hz", "hertz", "hertz"),
    unit("kHz", "kHz", "kilohertz", "kilohertz"),
    unit("MHz", "MHz", "megahertz", "megahertz"),
    unit("GHz", "GHz", "gigahertz", "gigahertz"),
    unit("KB", "kB", "kilobyte", "kilobytes"),
    unit("MB", "MB", "megabyte", "megabytes"),
    unit("GB", "GB", "gigabyte", "gigabytes"),
    unit("TB", "TB", "terabyte", "terabytes"),
    unit("ms", "ms", "millisecond", "milliseconds"),
    unit("s", "sec", "second", "seconds"),
    unit("min", "min", "minute", "minutes"),
    unit("h", "hr", "hour", "hours"),
    unit("m²", "m2", "square meter", "square meters"),
    unit("km²", "km2", "square kilometer", "square kilometers"),
    unit("ha", "ha", "hectare", "hectares"),
];
