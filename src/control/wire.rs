//! The frames: one JSON object a message, at most 64 KiB, with at most 16 descriptors beside it.
//!
//! Everything that comes in goes through [`decode_request`] or [`decode_reply`], which take any bytes at all.

use std::io;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::method::{Method, Refusal, Reply, Request};
use crate::model::objects;
use crate::sys::seqpacket;

pub use crate::sys::seqpacket::{MAX_FDS, Received};

/// The longest frame, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// A number that the client chose, and that comes back in the reply.
pub type RequestId = u64;

/// What makes a frame none of this protocol. With an `id` it can still be answered.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("a frame of {0} bytes: at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    #[error("not a frame of this protocol")]
    NotAFrame(#[source] serde_json::Error),
    #[error("unknown method {method:?}")]
    UnknownMethod { id: RequestId, method: String },
    #[error("bad parameters of {method}: {source}")]
    BadParameters { id: RequestId, method: &'static str, source: serde_json::Error },
}

impl DecodeError {
    /// The request that can be answered with this error; without one the connection makes no sense any more.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            DecodeError::TooLong(_) | DecodeError::NotAFrame(_) => None,
            DecodeError::UnknownMethod { id, .. } | DecodeError::BadParameters { id, .. } => Some(*id),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFrame {
    id: RequestId,
    method: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    params: Value,
}

/// One of the two.
#[derive(Serialize, Deserialize)]
struct ReplyFrame {
    id: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<Reply>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

/// The parameters of a method that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A frame. It may be longer than [`MAX_FRAME`], and is then refused by `send`.
pub fn encode_request(id: RequestId, request: &Request) -> Vec<u8> {
    let params = match request {
        Request::Handshake(params) => serde_json::to_value(params),
        Request::Create(params) => serde_json::to_value(params),
        Request::StartRoot => Ok(Value::Null),
        Request::Start(params) | Request::AwaitReady(params) | Request::Wait(params) | Request::Destroy(params) => {
            serde_json::to_value(params)
        }
        Request::ExecuteAsync(params) => serde_json::to_value(params),
        Request::WaitPid(params) => serde_json::to_value(params),
        Request::Signal(params) => serde_json::to_value(params),
        Request::State(params) => serde_json::to_value(params),
    };
    let params = params.expect("plain fields always serialise");
    let frame = RequestFrame { id, method: request.method().name().to_owned(), params };
    serde_json::to_vec(&frame).expect("plain fields always serialise")
}

/// The request in a frame, and the id that its reply is to carry.
pub fn decode_request(bytes: &[u8]) -> Result<(RequestId, Request), DecodeError> {
    check_length(bytes)?;
    let RequestFrame { id, method: name, params } = objects::from_slice(bytes).map_err(DecodeError::NotAFrame)?;
    let Some(method) = Method::parse(&name) else {
        return Err(DecodeError::UnknownMethod { id, method: name.chars().take(64).collect() });
    };
    let request = match method {
        Method::Handshake => objects::from_value(params).map(Request::Handshake),
        Method::Create => objects::from_value(params).map(Request::Create),
        Method::StartRoot if params.is_null() => Ok(Request::StartRoot),
        Method::StartRoot => objects::from_value(params).map(|Nothing {}| Request::StartRoot),
        Method::Start => objects::from_value(params).map(Request::Start),
        Method::ExecuteAsync => objects::from_value(params).map(Request::ExecuteAsync),
        Method::AwaitReady => objects::from_value(params).map(Request::AwaitReady),
        Method::Wait => objects::from_value(params).map(Request::Wait),
        Method::WaitPid => objects::from_value(params).map(Request::WaitPid),
        Method::Signal => objects::from_value(params).map(Request::Signal),
        Method::State => objects::from_value(params).map(Request::State),
        Method::Destroy => objects::from_value(params).map(Request::Destroy),
    };
    request.map(|request| (id, request)).map_err(|source| DecodeError::BadParameters {
        id,
        method: method.name(),
        source,
    })
}

/// A frame. It may be longer than [`MAX_FRAME`], and is then refused by `send`.
pub fn encode_reply(id: RequestId, outcome: &Result<Reply, Refusal>) -> Vec<u8> {
    let (reply, error) = (outcome.as_ref().ok().cloned(), outcome.as_ref().err().cloned());
    serde_json::to_vec(&ReplyFrame { id, reply, error }).expect("plain fields always serialise")
}

/// The outcome in a frame, and the id of the request that it answers.
pub fn decode_reply(bytes: &[u8]) -> Result<(RequestId, Result<Reply, Refusal>), DecodeError> {
    check_length(bytes)?;
    let ReplyFrame { id, reply, error } = objects::from_slice(bytes).map_err(DecodeError::NotAFrame)?;
    match (reply, error) {
        (Some(reply), None) => Ok((id, Ok(reply))),
        (None, Some(refusal)) => Ok((id, Err(refusal))),
        _ => Err(DecodeError::NotAFrame(serde::de::Error::custom("either a reply or an error is in it"))),
    }
}

/// Sends one frame without waiting. `WouldBlock`: the other side does not read.
pub fn send(socket: BorrowedFd<'_>, frame: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if frame.len() > MAX_FRAME || fds.len() > MAX_FDS {
        let what = format!("a frame of {} bytes with {} descriptors", frame.len(), fds.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    seqpacket::send(socket, frame, fds)
}

/// Receives one frame without waiting, into a buffer of [`MAX_FRAME`] bytes. One that is too long, or whose descriptors
/// did not all arrive, is `InvalidData`, with none of them left open.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    seqpacket::receive(socket, buffer)
}

fn check_length(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() > MAX_FRAME { Err(DecodeError::TooLong(bytes.len())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::method::*;
    use super::*;
    use crate::model::Id;
    use crate::model::record::Reaper;

    fn ids() -> impl Strategy<Value = Id> {
        "[A-Za-z0-9_+-][A-Za-z0-9_+.-]{0,40}".prop_map(|text| Id::parse(&text).unwrap())
    }

    fn reapers() -> impl Strategy<Value = Reaper> {
        prop_oneof![Just(Reaper::Supervisor), Just(Reaper::Caller)]
    }

    #[test]
    fn a_list_is_not_taken_for_parameters() {
        for (method, list, object) in [
            ("Handshake", "[1]", r#"{"version": 1}"#),
            ("containerManager.StartRoot", "[]", "{}"),
            ("containerManager.Wait", r#"["web"]"#, r#"{"cid": "web"}"#),
            ("containerManager.Destroy", r#"["web"]"#, r#"{"cid": "web"}"#),
            ("containerManager.Signal", r#"["web", null, 9]"#, r#"{"cid": "web", "pid": null, "signal": 9}"#),
            ("containerManager.State", "[null]", "{}"),
        ] {
            let frame = |params: &str| format!(r#"{{"id": 3, "method": "{method}", "params": {params}}}"#);
            let error = decode_request(frame(list).as_bytes()).unwrap_err();
            assert!(matches!(error, DecodeError::BadParameters { id: 3, .. }), "{method}: {error}");
            assert!(decode_request(frame(object).as_bytes()).is_ok(), "{method}");
        }
        assert!(decode_request(br#"[3, "containerManager.StartRoot", null]"#).is_err());
        for reply in [r#"[3, "done", null]"#, r#"{"id": 3, "reply": {"exited": [0, null, 5, false]}}"#] {
            assert!(decode_reply(reply.as_bytes()).is_err(), "{reply}");
        }
        assert!(decode_reply(br#"{"id": 3}"#).is_err(), "neither a reply nor an error");
    }

    /// By an exhaustive match: a method that nobody tries does not compile.
    fn requests() -> impl Strategy<Value = Request> {
        proptest::sample::select(METHODS).prop_flat_map(|(method, _)| requests_of(method))
    }

    fn requests_of(method: Method) -> BoxedStrategy<Request> {
        let container = || ids().prop_map(|cid| Container { cid });
        match method {
            Method::Handshake => any::<u32>().prop_map(|version| Request::Handshake(Handshake { version })).boxed(),
            Method::Create => (ids(), any::<bool>(), reapers(), any::<i32>(), any::<i32>(), any::<bool>())
                .prop_map(|(cid, root, reaper, pid, host_pid, detach)| {
                    Request::Create(Create { cid, root, reaper, pid, host_pid, detach })
                })
                .boxed(),
            Method::StartRoot => Just(Request::StartRoot).boxed(),
            Method::Start => container().prop_map(Request::Start).boxed(),
            Method::ExecuteAsync => (ids(), any::<i32>(), any::<i32>(), reapers())
                .prop_map(|(cid, pid, host_pid, reaper)| {
                    Request::ExecuteAsync(ExecuteAsync { cid, pid, host_pid, reaper })
                })
                .boxed(),
            Method::AwaitReady => container().prop_map(Request::AwaitReady).boxed(),
            Method::Wait => container().prop_map(Request::Wait).boxed(),
            Method::WaitPid => {
                (ids(), any::<i32>()).prop_map(|(cid, pid)| Request::WaitPid(WaitPid { cid, pid })).boxed()
            }
            Method::Signal => (ids(), any::<Option<i32>>(), any::<i32>())
                .prop_map(|(cid, pid, signal)| Request::Signal(Signal { cid, pid, signal }))
                .boxed(),
            Method::State => any::<Option<String>>().prop_map(|after| Request::State(State { after })).boxed(),
            Method::Destroy => container().prop_map(Request::Destroy).boxed(),
        }
    }

    fn exits() -> impl Strategy<Value = Exited> {
        (any::<u8>(), any::<Option<u8>>(), any::<i64>(), any::<bool>(), any::<Option<String>>())
            .prop_map(|(code, signal, at, inferred, note)| Exited { code, signal, at, inferred, note })
    }

    fn replies() -> impl Strategy<Value = Result<Reply, Refusal>> {
        let processes = (any::<i32>(), any::<i32>()).prop_map(|(pid, host_pid)| ProcessStatus { pid, host_pid });
        let containers = (
            any::<String>(),
            any::<[bool; 2]>(),
            proptest::option::of(exits()),
            proptest::collection::vec(processes, 0..4),
        )
            .prop_map(|(cid, [started, released], exited, pids)| ContainerStatus {
                cid,
                started,
                released,
                exited,
                pids,
            });
        prop_oneof![
            (any::<u32>(), any::<String>()).prop_map(|(version, sandbox)| Ok(Reply::Welcome { version, sandbox })),
            Just(Ok(Reply::Done)),
            exits().prop_map(|exited| Ok(Reply::Exited(exited))),
            (proptest::collection::vec(containers, 0..4), any::<bool>())
                .prop_map(|(containers, more)| Ok(Reply::Containers { containers, more })),
            any::<String>().prop_map(|message| Err(Refusal { code: ErrorCode::Busy, message })),
        ]
    }

    proptest! {
        #[test]
        fn a_request_comes_back_as_it_was(id in any::<u64>(), request in requests()) {
            prop_assert_eq!(decode_request(&encode_request(id, &request)).unwrap(), (id, request));
        }

        #[test]
        fn a_reply_comes_back_as_it_was(id in any::<u64>(), reply in replies()) {
            prop_assert_eq!(decode_reply(&encode_reply(id, &reply)).unwrap(), (id, reply));
        }

        #[test]
        fn a_truncated_frame_is_refused(request in requests(), reply in replies(), cut in 1usize..20) {
            let (asked, told) = (encode_request(1, &request), encode_reply(1, &reply));
            prop_assert!(decode_request(&asked[..asked.len() - cut.min(asked.len())]).is_err());
            prop_assert!(decode_reply(&told[..told.len() - cut.min(told.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_request(&bytes);
            let _ = decode_reply(&bytes);
        }
    }

    #[test]
    fn a_frame_too_long_is_refused_before_it_is_read() {
        assert!(matches!(decode_request(&vec![b' '; MAX_FRAME + 1]), Err(DecodeError::TooLong(_))));
        assert!(matches!(decode_reply(&vec![b' '; MAX_FRAME + 1]), Err(DecodeError::TooLong(_))));
    }

    #[test]
    fn deep_nesting_is_refused_and_not_recursed_into() {
        assert!(decode_request(&vec![b'['; MAX_FRAME]).is_err());
    }

    #[test]
    fn a_list_is_taken_for_no_frame_and_for_no_parameters() {
        for frame in [r#"[7,"containerManager.Wait",{"cid":"web"}]"#, r#" [7,{"done":null}]"#] {
            assert!(matches!(decode_request(frame.as_bytes()), Err(DecodeError::NotAFrame(_))), "{frame}");
            assert!(matches!(decode_reply(frame.as_bytes()), Err(DecodeError::NotAFrame(_))), "{frame}");
        }
        for (method, params) in [
            ("Handshake", "[1]"),
            ("containerManager.Wait", r#"["web"]"#),
            ("containerManager.Wait", r#""web""#),
            ("containerManager.Wait", "null"),
            ("containerManager.Signal", r#"["web",null,9]"#),
            ("containerManager.Signal", r#"{"cid":"web","pid":[7],"signal":9}"#),
            ("containerManager.State", "[null]"),
            ("containerManager.StartRoot", "[]"),
            ("containerManager.StartRoot", r#"{"cid":"web"}"#),
        ] {
            let frame = format!(r#"{{"id":7,"method":"{method}","params":{params}}}"#);
            let error = decode_request(frame.as_bytes()).unwrap_err();
            assert!(matches!(error, DecodeError::BadParameters { id: 7, .. }), "{frame}: {error}");
        }
        for params in ["{}", "null"] {
            let frame = format!(r#"{{"id":7,"method":"containerManager.StartRoot","params":{params}}}"#);
            assert_eq!(decode_request(frame.as_bytes()).unwrap(), (7, Request::StartRoot));
        }
    }

    #[test]
    fn what_can_be_answered_says_to_whom() {
        let bad_id = br#"{"id":7,"method":"containerManager.Wait","params":{"cid":"../x"}}"#;
        assert_eq!(decode_request(bad_id).unwrap_err().request_id(), Some(7));
        let unknown = br#"{"id":8,"method":"containerManager.Fly"}"#;
        assert_eq!(decode_request(unknown).unwrap_err().request_id(), Some(8));
        assert_eq!(decode_request(b"{}").unwrap_err().request_id(), None);
    }

    #[test]
    fn an_error_code_of_a_newer_side_is_still_an_error() {
        let (_, outcome) = decode_reply(br#"{"id":1,"error":{"code":"new-thing","message":"m"}}"#).unwrap();
        assert_eq!(outcome.unwrap_err().code, ErrorCode::Other);
    }
}
