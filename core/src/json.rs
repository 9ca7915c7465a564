//! JSON as it stands in a review: valid text that is opened one level at a time.
//!
//! The objects of a review may be megabytes, and most of it is equal before and after. So nothing is parsed into a
//! tree: what is equal is equal as text, and only what differs is opened.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON value, as its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

/// The members of a JSON object. Of two members of one name the later counts, as in Go.
pub type Members<'a> = BTreeMap<Cow<'a, str>, Json<'a>>;

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(raw: &'a RawValue) -> Json<'a> {
        Json(raw.get())
    }
}

impl<'a> Json<'a> {
    /// The text.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Whether it is an object without members.
    pub fn is_empty_object(self) -> bool {
        self.is_written_as("{}")
    }

    /// Whether it has this text, but for whitespace.
    pub fn is_written_as(self, text: &str) -> bool {
        self.0.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(text.bytes())
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The members; none where it is no object.
    pub fn members(self) -> Members<'a> {
        self.read::<MembersOf<'a>>().map(|read| read.0).unwrap_or_default()
    }

    /// The members in the order in which they stand, also those of one name; none where it is no object.
    pub(crate) fn entries(self) -> Vec<(Cow<'a, str>, Json<'a>)> {
        self.read::<EntriesOf<'a>>().map(|read| read.0).unwrap_or_default()
    }

    /// The items; none where it is no array.
    pub fn items(self) -> Vec<Json<'a>> {
        self.read::<ItemsOf<'a>>().map(|read| read.0).unwrap_or_default()
    }

    /// One member.
    pub fn get(self, key: &str) -> Option<Json<'a>> {
        if !self.is_object() {
            return None;
        }
        let mut reader = serde_json::Deserializer::from_str(self.0);
        reader.deserialize_map(Member(key)).ok().flatten()
    }

    /// One member of an object that is known to have no two of one name: the rest is not looked at.
    pub fn get_first(self, key: &str) -> Option<Json<'a>> {
        let mut found = None;
        if self.is_object() {
            let mut reader = serde_json::Deserializer::from_str(self.0);
            // An error is how a visitor stops.
            let _ = reader.deserialize_map(First(key, &mut found));
        }
        found
    }

    /// The value below some member names.
    pub fn at(self, keys: &[&str]) -> Option<Json<'a>> {
        keys.iter().try_fold(self, |json, key| json.get(key))
    }

    /// The string that it is.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        self.read::<Text<'a>>().map(|text| text.0)
    }

    /// Whether it is `true`.
    pub fn is_true(self) -> bool {
        self.0 == "true"
    }

    /// Parses all of it. `None` where it is nested too deeply.
    pub fn value(self) -> Option<Value> {
        serde_json::from_str(self.0).ok()
    }

    /// Whether both say the same, however they are written. What is nested too deeply to be parsed is compared as text.
    pub fn same(self, other: Json<'_>) -> bool {
        self.0 == other.0 || self.value().zip(other.value()).is_some_and(|(a, b)| a == b)
    }

    /// Its text in the one way in which path elements keep values. A string without escapes and a short whole number are
    /// written in that way already.
    pub(crate) fn canonical(self) -> String {
        let text = self.0;
        let is_plain = match text.as_bytes() {
            [b'"', inner @ .., b'"'] => !inner.contains(&b'\\'),
            [b'1'..=b'9', digits @ ..] => digits.len() < 18 && digits.iter().all(u8::is_ascii_digit),
            other => other == b"0",
        };
        if is_plain {
            return text.to_owned();
        }
        self.value().map_or_else(|| text.to_owned(), |value| value.to_string())
    }

    /// Reads it as a type. `None` where it is of another.
    pub fn read<T: Deserialize<'a>>(self) -> Option<T> {
        serde_json::from_str(self.0).ok()
    }
}

/// A string, borrowed where it is written without escapes.
#[derive(serde::Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(Json::from)
    }
}

struct MembersOf<'a>(Members<'a>);

impl<'de> Deserialize<'de> for MembersOf<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = MembersOf<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::new();
                while let Some((Text(key), value)) = map.next_entry::<Text<'de>, Json<'de>>()? {
                    members.insert(key, value);
                }
                Ok(MembersOf(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

struct EntriesOf<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'de> Deserialize<'de> for EntriesOf<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = EntriesOf<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(key), value)) = map.next_entry::<Text<'de>, Json<'de>>()? {
                    entries.push((key, value));
                }
                Ok(EntriesOf(entries))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

struct ItemsOf<'a>(Vec<Json<'a>>);

impl<'de> Deserialize<'de> for ItemsOf<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = ItemsOf<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(ItemsOf(items))
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

/// Finds one member and skips the others.
struct Member<'k>(&'k str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<Json<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Finds one member and stops.
struct First<'k, 'f, 'a>(&'k str, &'f mut Option<Json<'a>>);

impl<'de> Visitor<'de> for First<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            if key == self.0 {
                *self.1 = Some(map.next_value()?);
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json<'_> {
        Json::from(serde_json::from_str::<&RawValue>(text).unwrap())
    }

    #[test]
    fn one_level_is_opened_at_a_time() {
        let object = json(r#"{"a": {"b": [1, "x\ny"]}, "k\"ey": null}"#);
        assert_eq!(object.at(&["a", "b"]).unwrap().items()[1].as_str().unwrap(), "x\ny");
        assert_eq!(object.members().keys().collect::<Vec<_>>(), ["a", "k\"ey"]);
        assert_eq!(object.get("k\"ey").unwrap().text(), "null");
        assert_eq!(object.get_first("a"), object.get("a"));
        assert_eq!(object.get_first("b"), None);
        assert_eq!(object.get("b"), None);
        assert!(object.items().is_empty() && json("[1]").members().is_empty());
    }

    #[test]
    fn of_two_members_of_one_name_the_later_counts() {
        let object = json(r#"{"a": 1, "a": 2}"#);
        assert_eq!(object.get("a").unwrap().text(), "2");
        assert_eq!(object.members()["a"].text(), "2");
    }

    #[test]
    fn the_way_of_writing_makes_no_difference() {
        assert!(json(r#"{"a":1,"b":"<"}"#).same(json("{\"b\": \"\\u003c\", \"a\": 1}")));
        assert!(!json("[1,2]").same(json("[2,1]")));
    }

    #[test]
    fn an_empty_object_is_seen_however_it_is_written() {
        assert!(json("{ }").is_empty_object() && json("{}").is_empty_object());
        assert!(!json(r#"{"a":1}"#).is_empty_object() && !json("[]").is_empty_object());
    }
}
