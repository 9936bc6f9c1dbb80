//! D-Bus messages as bytes, as far as systemd is spoken to: a few types, little-endian (D-Bus specification, "Message
//! Protocol"). Pure and total: any bytes give a message or an error.

/// The largest message that is read, in bytes. What systemd answers to us is far below.
pub const LARGEST: usize = 1 << 20;
/// The part of a header that has a fixed size, and the length of the rest.
pub const FIXED: usize = 16;

const LITTLE: u8 = b'l';
const VERSION: u8 = 1;

/// The four kinds of messages.
#[allow(missing_docs)] // As D-Bus has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A value in a variant.
#[allow(missing_docs)] // Named by what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Bool(bool),
    I32(i32),
    U32(u32),
    U64(u64),
    Texts(Vec<String>),
    U32s(Vec<u32>),
    Bytes(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Text(_) => "s",
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::U64(_) => "t",
            Value::Texts(_) => "as",
            Value::U32s(_) => "au",
            Value::Bytes(_) => "ay",
        }
    }
}

/// A call of a method.
pub struct Call<'a> {
    /// The bus name of who is called.
    pub destination: &'a str,
    /// Of the object, as `/org/freedesktop/systemd1`.
    pub path: &'a str,
    /// That has the method.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// Its arguments.
    pub body: Body,
}

/// What has been read of a message; empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// None: one that this version of D-Bus does not know.
    pub kind: Option<Kind>,
    /// The serial number of the call that it answers; 0 of what is no answer.
    pub reply_to: u32,
    /// Of the method or the signal.
    pub member: String,
    /// The name of the error that it is: `org.freedesktop.systemd1.NoSuchUnit`.
    pub error: String,
    /// The types of the arguments in `body`, as `uoss`.
    pub signature: String,
    /// The arguments, as they came.
    pub body: Vec<u8>,
}

/// Bytes that are no message, or one that is longer, or in another byte order, than we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no message of D-Bus")]
pub struct Malformed;

/// A message's arguments, with their signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    /// And a string.
    pub fn text(mut self, text: &str) -> Body {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    /// And a truth value.
    pub fn boolean(mut self, value: bool) -> Body {
        self.signature.push('b');
        put_u32(&mut self.bytes, value.into());
        self
    }

    /// a(sv)
    pub fn properties(mut self, properties: &[(String, Value)]) -> Body {
        self.signature.push_str("a(sv)");
        put_array(&mut self.bytes, 8, |bytes| {
            for (name, value) in properties {
                align(bytes, 8);
                put_text(bytes, name);
                put_variant(bytes, value);
            }
        });
        self
    }

    /// An empty a(sa(sv)): systemd has never had a use for it.
    pub fn no_others(mut self) -> Body {
        self.signature.push_str("a(sa(sv))");
        put_array(&mut self.bytes, 8, |_| {});
        self
    }
}

/// The bytes of a message. `serial`: what its answer will name; not 0.
pub fn encode(call: &Call<'_>, serial: u32) -> Vec<u8> {
    let mut bytes = vec![LITTLE, 1, 0, VERSION];
    put_u32(&mut bytes, call.body.bytes.len() as u32);
    put_u32(&mut bytes, serial);
    put_array(&mut bytes, 8, |bytes| {
        for (code, kind, text) in
            [(1, "o", call.path), (2, "s", call.interface), (3, "s", call.member), (6, "s", call.destination)]
        {
            align(bytes, 8);
            bytes.push(code);
            put_signature(bytes, kind);
            put_text(bytes, text);
        }
        if !call.body.signature.is_empty() {
            align(bytes, 8);
            bytes.push(8);
            put_signature(bytes, "g");
            put_signature(bytes, &call.body.signature);
        }
    });
    align(&mut bytes, 8);
    bytes.extend_from_slice(&call.body.bytes);
    bytes
}

/// How long the whole message is, from its first [`FIXED`] bytes.
pub fn length(fixed: &[u8; FIXED]) -> Result<usize, Malformed> {
    let mut reader = Reader { bytes: fixed, at: 4 };
    let (body, _, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let length = FIXED + (fields as usize).next_multiple_of(8) + body as usize;
    if fixed[0] != LITTLE || fixed[3] != VERSION || length > LARGEST { Err(Malformed) } else { Ok(length) }
}

/// Header and arguments of one whole message, as `length` has measured it.
pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
    let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or(Malformed)?;
    if length(fixed)? != bytes.len() {
        return Err(Malformed);
    }
    let kind = match fixed[1] {
        1 => Some(Kind::Call),
        2 => Some(Kind::Return),
        3 => Some(Kind::Error),
        4 => Some(Kind::Signal),
        _ => None,
    };
    let mut reader = Reader { bytes, at: 12 };
    let end = FIXED + reader.u32()? as usize;
    let mut message = Message { kind, ..Message::default() };
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match reader.signature()?.as_str() {
            "s" | "o" => {
                let text = reader.text()?;
                match code {
                    3 => message.member = text,
                    4 => message.error = text,
                    _ => {}
                }
            }
            "g" => {
                let text = reader.signature()?;
                if code == 8 {
                    message.signature = text;
                }
            }
            "u" => {
                let number = reader.u32()?;
                if code == 5 {
                    message.reply_to = number;
                }
            }
            _ => return Err(Malformed),
        }
    }
    message.body = bytes.get(end.next_multiple_of(8)..).ok_or(Malformed)?.to_vec();
    Ok(message)
}

impl Message {
    /// The texts (and object paths) of its arguments, up to the first that is neither those nor a number.
    pub fn texts(&self) -> Vec<String> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            let text = match kind {
                's' | 'o' => reader.text(),
                'u' => match reader.u32() {
                    Ok(_) => continue,
                    Err(error) => Err(error),
                },
                'v' => reader.signature().and_then(|kind| if kind == "s" { reader.text() } else { Err(Malformed) }),
                _ => Err(Malformed),
            };
            match text {
                Ok(text) => texts.push(text),
                Err(Malformed) => break,
            }
        }
        texts
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = self.byte()?.into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Result<String, Malformed> {
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| Malformed)?;
        if self.byte()? == 0 { Ok(text) } else { Err(Malformed) }
    }
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    align(bytes, 4);
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, text.len() as u32);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend_from_slice(signature.as_bytes());
    bytes.push(0);
}

/// The length of an array counts its elements, and not the padding before the first.
fn put_array(bytes: &mut Vec<u8>, alignment: usize, elements: impl FnOnce(&mut Vec<u8>)) {
    put_u32(bytes, 0);
    let length_at = bytes.len() - 4;
    align(bytes, alignment);
    let begin = bytes.len();
    elements(bytes);
    let length = (bytes.len() - begin) as u32;
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_variant(bytes: &mut Vec<u8>, value: &Value) {
    put_signature(bytes, value.signature());
    match value {
        Value::Text(text) => put_text(bytes, text),
        Value::Bool(value) => put_u32(bytes, (*value).into()),
        Value::I32(number) => put_u32(bytes, *number as u32),
        Value::U32(number) => put_u32(bytes, *number),
        Value::U64(number) => {
            align(bytes, 8);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Value::Texts(texts) => put_array(bytes, 4, |bytes| texts.iter().for_each(|text| put_text(bytes, text))),
        Value::U32s(numbers) => put_array(bytes, 4, |bytes| numbers.iter().for_each(|number| put_u32(bytes, *number))),
        Value::Bytes(list) => put_array(bytes, 1, |bytes| bytes.extend_from_slice(list)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: Body) -> Vec<u8> {
        let (destination, path) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
        encode(&Call { destination, path, interface: "org.freedesktop.systemd1.Manager", member: "Subscribe", body }, 7)
    }

    #[test]
    fn a_call_is_read_back_as_it_was_written() {
        let bytes = call(Body::default().text("web.scope").text("replace"));
        let message = decode(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (Some(Kind::Call), "Subscribe"));
        assert_eq!(message.signature, "ss");
        assert_eq!(message.texts(), ["web.scope", "replace"]);
    }

    #[test]
    fn properties_are_aligned_as_the_specification_wants_them() {
        let properties = [
            ("PIDs".to_owned(), Value::U32s(vec![42])),
            ("Delegate".to_owned(), Value::Bool(true)),
            ("MemoryMax".to_owned(), Value::U64(5)),
        ];
        let body = Body::default().properties(&properties);
        let first = b"\x04\0\0\0PIDs\0\x02au\0\0\0\0\x04\0\0\0\x2a\0\0\0\x08\0\0\0Delegate\0";
        assert_eq!(body.bytes[8..8 + first.len()], first[..]);
        let last = b"MemoryMax\0\x01t\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";
        assert!(body.bytes.ends_with(last), "{:?}", body.bytes);
        assert_eq!(u32::from_le_bytes(*body.bytes.first_chunk().unwrap()) as usize, body.bytes.len() - 8);
        assert!(decode(&call(body)).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            if let Ok(message) = decode(&bytes) {
                message.texts();
            }
        }

        #[test]
        fn a_message_with_any_byte_changed_gives_an_answer(at in 0usize..120, byte in proptest::prelude::any::<u8>()) {
            let mut bytes = call(Body::default().text("web.scope").text("replace"));
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(message) = decode(&bytes) {
                message.texts();
            }
        }
    }
}
