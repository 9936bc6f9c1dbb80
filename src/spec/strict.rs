//! JSON as the specification's types read it, without what they would also take: from a list of values they make an object.
//! And config.json without the halves that are for other systems.

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value};

/// A value that is moved into what is made of it: nothing of it is there twice.
pub(super) struct Strict(pub(super) Value);

impl<'de> IntoDeserializer<'de, Error> for Strict {
    type Deserializer = Strict;

    fn into_deserializer(self) -> Strict {
        self
    }
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => SeqDeserializer::new(items.into_iter().map(Strict)).deserialize_any(visitor),
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, member)| (name, Strict(member)));
                MapDeserializer::new(members).deserialize_any(visitor)
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::custom("invalid type: a list, expected an object")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// What Linux has of a configuration, and which of the others' halves it holds.
pub(super) struct Configuration {
    pub(super) value: Value,
    pub(super) foreign: Vec<&'static str>,
}

/// The halves of a configuration that say nothing about a container here, whatever is in them.
const FOREIGN: [&str; 4] = ["solaris", "vm", "windows", "zos"];

const OURS: [&str; 9] =
    ["annotations", "domainname", "hooks", "hostname", "linux", "mounts", "ociVersion", "process", "root"];

impl<'de> Deserialize<'de> for Configuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Configuration, D::Error> {
        deserializer.deserialize_any(ConfigurationVisitor)
    }
}

struct ConfigurationVisitor;

impl<'de> Visitor<'de> for ConfigurationVisitor {
    type Value = Configuration;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    /// Properties that nobody knows are read past, and take no memory.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Configuration, A::Error> {
        let (mut ours, mut foreign) = (Map::new(), Vec::new());
        while let Some(name) = members.next_key::<String>()? {
            if OURS.contains(&name.as_str()) {
                ours.insert(name, members.next_value()?);
                continue;
            }
            members.next_value::<IgnoredAny>()?;
            foreign.extend(FOREIGN.iter().find(|known| **known == name));
        }
        Ok(Configuration { value: Value::Object(ours), foreign })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _items: A) -> Result<Configuration, A::Error> {
        Err(A::Error::custom("invalid type: a list, expected an object"))
    }
}
