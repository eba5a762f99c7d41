//! Settings of several kinds, whose kind alone may stand for them: `decay = "cosine"` is `decay = { kind = "cosine" }`.

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, Error, MapAccess, Visitor,
        value::{MapAccessDeserializer, MapDeserializer},
    },
};
use std::{fmt, iter::once, marker::PhantomData};

/// A table with its `kind`, or that word.
pub(crate) fn or_table<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    d: D,
) -> Result<T, D::Error> {
    OrTable::deserialize(d).map(|OrTable(value)| value)
}

/// Several of them.
pub(crate) fn or_tables<'de, T, D>(d: D) -> Result<Vec<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let values = Vec::<OrTable<T>>::deserialize(d)?;
    Ok(values.into_iter().map(|OrTable(value)| value).collect())
}

struct OrTable<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for OrTable<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Either<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a kind, or a table with its `kind` and what belongs to it")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
                T::deserialize(MapDeserializer::new(once(("kind", word))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        d.deserialize_any(Either(PhantomData)).map(Self)
    }
}
