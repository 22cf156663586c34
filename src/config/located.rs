//! Values of the file that remember where they stand, so that a finding can point at them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Spanned;

use super::finding::Span;

/// Why a text is refused: what is wrong with it, and what to write instead. Both without the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// What is wrong.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) write: String,
}

impl Complaint {
    /// Puts the two together.
    pub(crate) fn new(what: impl Into<String>, write: impl Into<String>) -> Self {
        Self { what: what.into(), write: write.into() }
    }
}

/// Serde carries one text: the first line says what is wrong, the second what to write. `read` takes them apart.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what.replace('\n', " "), self.write.replace('\n', " "))
    }
}

/// A value that the file writes as a string.
pub(crate) trait Leaf: Sized {
    /// What belongs here, as in "write …".
    const WANTED: &'static str;
    /// A regular expression that every valid text fits, for editors; it need not catch every invalid one.
    const PATTERN: Option<&'static str> = None;

    /// Reads the text, after the environment has been put in.
    fn read(text: &str) -> Result<Self, Complaint>;
}

/// Any value, and where it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands; `None`: a default.
    pub(crate) span: Option<Span>,
}

impl<T> At<T> {
    /// A value that stands nowhere: a default.
    pub(crate) fn default_of(value: T) -> Self {
        Self { value, span: None }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner(), span: Some(span) })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// A string of the file: its text, what it means, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Word<T> {
    /// What it means.
    pub(crate) value: T,
    /// As written, after the environment has been put in.
    pub(crate) text: String,
    /// Where it stands; `None`: a default.
    pub(crate) span: Option<Span>,
}

impl<T: Leaf> Word<T> {
    /// A default.
    pub(crate) fn default_of(text: &str) -> Self {
        let value = T::read(text).expect("a default of ours is valid");
        Self { value, text: text.to_owned(), span: None }
    }
}

impl<T> Deref for Word<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The text and its meaning, before the place is known.
struct Unplaced<T>(T, String);

struct UnplacedVisitor<T>(PhantomData<T>);

impl<T: Leaf> Visitor<'_> for UnplacedVisitor<T> {
    type Value = Unplaced<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WANTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::read(text).map(|value| Unplaced(value, text.to_owned())).map_err(E::custom)
    }
}

impl<'de, T: Leaf> Deserialize<'de> for Unplaced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(UnplacedVisitor(PhantomData))
    }
}

impl<'de, T: Leaf> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Unplaced<T>>::deserialize(deserializer)?;
        let span = Some(spanned.span());
        let Unplaced(value, text) = spanned.into_inner();
        Ok(Self { value, text, span })
    }
}

impl<T> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<T: Leaf> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = schemars::json_schema!({ "type": "string" });
        if let Some(pattern) = T::PATTERN {
            // A string may always hold `${NAME}` instead, whose value an editor does not know.
            schema.insert("pattern".to_owned(), format!(r"^(?:{pattern})$|\$\{{").into());
        }
        schema
    }
}

/// One string, or a list of them; never an empty list.
#[derive(Debug, Clone)]
pub(crate) struct Several<T> {
    /// In the order of the file.
    pub(crate) list: Vec<Word<T>>,
    /// Where it stands.
    pub(crate) span: Option<Span>,
}

struct OneOrMany<T>(Vec<Word<T>>);

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Leaf> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of such", T::WANTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let Unplaced(value, text) = UnplacedVisitor::<T>(PhantomData).visit_str(text)?;
        Ok(OneOrMany(vec![Word { value, text, span: None }]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(word) = sequence.next_element::<Word<T>>()? {
            list.push(word);
        }
        Ok(OneOrMany(list))
    }
}

impl<'de, T: Leaf> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

impl<'de, T: Leaf> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<OneOrMany<T>>::deserialize(deserializer)?;
        let span = Some(spanned.span());
        let mut list = spanned.into_inner().0;
        for word in &mut list {
            word.span = word.span.take().or_else(|| span.clone());
        }
        Ok(Self { list, span })
    }
}

impl<T> Serialize for Several<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl<T: Leaf> JsonSchema for Several<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Several".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = Word::<T>::json_schema(generator);
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// A table whose keys the file chooses, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entries<K, V> {
    /// The pairs.
    pub(crate) list: Vec<(Word<K>, V)>,
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

struct EntriesVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K: Leaf, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<K, V> {
    type Value = Entries<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table, each key {}", K::WANTED)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(pair) = map.next_entry::<Word<K>, V>()? {
            list.push(pair);
        }
        list.sort_by_key(|(key, _)| key.span.as_ref().map_or(0, |span| span.start));
        Ok(Entries { list })
    }
}

impl<'de, K: Leaf, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

impl<K, V: Serialize> Serialize for Entries<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.list.iter().map(|(key, value)| (&key.text, value)))
    }
}

impl<K: Leaf, V: JsonSchema> JsonSchema for Entries<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Entries".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<V>();
        let mut schema = schemars::json_schema!({ "type": "object", "additionalProperties": value });
        if let Some(pattern) = K::PATTERN {
            let names = serde_json::json!({ "pattern": format!("^(?:{pattern})$") });
            schema.insert("propertyNames".to_owned(), names);
        }
        schema
    }
}
