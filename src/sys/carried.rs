//! What crosses an execve(2) in a letter to the new program, for types that serde knows no such form of: a path or an
//! argument is its bytes, whatever they are, and a descriptor is its number.
//!
//! `#[serde(with = "crate::sys::carried")]` on a field of one of these types, or of a list or an option of them.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use super::descriptors;

/// A type and the form in which it is carried.
pub trait Carried: Sized {
    /// What goes into the letter: bytes, or for a descriptor its number.
    type Form: Serialize + DeserializeOwned;

    /// The form of a value that stays where it is.
    fn form(&self) -> Self::Form;
    /// The value that was carried. InvalidData: the form is of none; for a descriptor, nothing is open under its
    /// number.
    fn from_form(form: Self::Form) -> io::Result<Self>;
}

/// For serde's `with`: the value in its form.
pub fn serialize<T: Carried, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.form().serialize(serializer)
}

/// For serde's `with`: the value from its form. A descriptor is taken over, so this may be done once.
pub fn deserialize<'de, T: Carried, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::from_form(serde::Deserialize::deserialize(deserializer)?).map_err(D::Error::custom)
}

impl Carried for OsString {
    type Form = Vec<u8>;

    fn form(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_form(bytes: Vec<u8>) -> io::Result<OsString> {
        Ok(OsString::from_vec(bytes))
    }
}

impl Carried for PathBuf {
    type Form = Vec<u8>;

    fn form(&self) -> Vec<u8> {
        self.as_os_str().as_bytes().to_vec()
    }

    fn from_form(bytes: Vec<u8>) -> io::Result<PathBuf> {
        Ok(OsString::from_vec(bytes).into())
    }
}

/// Whoever reads the letter owns the descriptor from then on, closed by its own execve: each number stands in one letter
/// once. That it is open across the execve before is the writer's to see to.
impl Carried for OwnedFd {
    type Form = RawFd;

    fn form(&self) -> RawFd {
        self.as_raw_fd()
    }

    fn from_form(number: RawFd) -> io::Result<OwnedFd> {
        descriptors::take(number)
    }
}

impl<T: Carried> Carried for Option<T> {
    type Form = Option<T::Form>;

    fn form(&self) -> Self::Form {
        self.as_ref().map(T::form)
    }

    fn from_form(form: Self::Form) -> io::Result<Self> {
        form.map(T::from_form).transpose()
    }
}

impl<T: Carried> Carried for Vec<T> {
    type Form = Vec<T::Form>;

    fn form(&self) -> Self::Form {
        self.iter().map(T::form).collect()
    }

    fn from_form(form: Self::Form) -> io::Result<Self> {
        form.into_iter().map(T::from_form).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Paths {
        #[serde(with = "crate::sys::carried")]
        one: PathBuf,
        #[serde(with = "crate::sys::carried")]
        many: Vec<Option<PathBuf>>,
    }

    #[test]
    fn a_path_that_is_no_text_arrives_byte_for_byte() {
        let odd: PathBuf = OsString::from_vec(b"/a\xff\n".to_vec()).into();
        let paths = Paths { one: odd.clone(), many: vec![None, Some(odd)] };
        let bytes = postcard::to_stdvec(&paths).unwrap();
        assert_eq!(postcard::from_bytes::<Paths>(&bytes).unwrap(), paths);
    }

    #[test]
    fn a_number_that_is_not_open_is_an_error() {
        assert!(OwnedFd::from_form(1_000_000).is_err());
        assert!(OwnedFd::from_form(0).is_err(), "the standard ones are nobody's to own");
    }
}
