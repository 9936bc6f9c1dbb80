//! What a service does that has a service manager: says words to NOTIFY_SOCKET, one after the other.
//!
//! | word | what is done |
//! |---|---|
//! | `where` | prints the variable |
//! | `say:TEXT` | one datagram; `\n` in it begins a new line |
//! | `flood:N` | that many datagrams, as fast as they are taken |
//! | `huge:N` | one of so many bytes |
//! | `wait:PATH` | until something is there |

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

pub fn run(words: impl Iterator<Item = String>) {
    let manager = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
    let socket = UnixDatagram::unbound().expect("a socket");
    let say = |text: &[u8]| match socket.send_to(text, &manager) {
        Ok(_) => {}
        Err(error) => println!("cannot send {} bytes: {error}", text.len()),
    };
    for word in words {
        match word.split_once(':') {
            Some(("say", text)) => say(text.replace("\\n", "\n").as_bytes()),
            Some(("flood", count)) => {
                (0..count.parse::<u32>().expect("a number")).for_each(|n| say(format!("STATUS=flood {n}").as_bytes()))
            }
            Some(("huge", length)) => say(&vec![b'x'; length.parse().expect("a number")]),
            Some(("wait", path)) => {
                while !Path::new(path).exists() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            _ => println!("NOTIFY_SOCKET={manager}"),
        }
    }
}
