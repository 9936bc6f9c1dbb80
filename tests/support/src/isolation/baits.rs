//! What the host lays out for whoever gets out: files that everybody may write, sockets that everybody may call, a key, a
//! process with a secret. Dropped, all of it is gone.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Env;

pub struct Baits {
    /// Beside the bundles; what `do` shows of the host; and the current folder of the command.
    places: Vec<PathBuf>,
    tag: String,
    unix: Vec<UnixListener>,
    named: UnixListener,
    tcp: TcpListener,
    process: Child,
    /// What the caller has in its environment, and nobody inside may know.
    pub marker: String,
}

impl Baits {
    pub fn lay(env: &Env) -> Baits {
        let tag = env.tag().to_owned();
        let marker = format!("of-the-host-{tag}");
        // /var/lib is seen by who sees the host's root.
        let places = vec![env.dir().join("outside"), Path::new("/var/lib").join(&tag), env.dir().join("work")];
        let mut unix = Vec::new();
        for place in &places {
            fs::create_dir_all(place.join("folder")).expect("a bait");
            fs::write(place.join("file"), "of the host\n").expect("a bait");
            fs::write(place.join("secret"), "of the host\n").expect("a bait");
            unix.push(UnixListener::bind(place.join("socket")).expect("a socket"));
            for (name, mode) in [("", 0o777), ("folder", 0o777), ("file", 0o666), ("secret", 0o600), ("socket", 0o777)]
            {
                fs::set_permissions(place.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
            }
        }
        let named = SocketAddr::from_abstract_name(&tag).and_then(|name| UnixListener::bind_addr(&name));
        let named = named.expect("an abstract socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut process = Command::new("sleep");
        process.arg("1000").env("SECRET", &marker).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().expect("sleep");
        for listener in unix.iter().chain([&named]) {
            listener.set_nonblocking(true).expect("O_NONBLOCK");
        }
        tcp.set_nonblocking(true).expect("O_NONBLOCK");
        Baits { places, tag, unix, named, tcp, process, marker }
    }

    /// The current folder of every command.
    pub fn work(&self) -> &Path {
        &self.places[2]
    }

    /// Everything that must stay as it is.
    pub fn files(&self) -> Vec<PathBuf> {
        let names = ["", "folder", "file", "secret", "socket"];
        self.places.iter().flat_map(|place| names.map(|name| place.join(name))).collect()
    }

    /// The description of the key in the caller's session keyring.
    pub fn key(&self) -> String {
        format!("key-{}", self.tag)
    }

    /// The probe's arguments. `SERIAL` is put in by whoever makes the key.
    pub fn arguments(&self) -> Vec<String> {
        let port = self.tcp.local_addr().expect("an address").port().to_string();
        let reversed: String = self.marker.chars().rev().collect();
        let mut words =
            vec![("name", self.tag.clone()), ("port", port), ("key", self.key()), ("serial", "SERIAL".into())];
        words.push(("pid", self.process.id().to_string()));
        words.push(("reversed", reversed));
        words.extend(self.files().into_iter().map(|file| ("path", file.display().to_string())));
        words.into_iter().flat_map(|(word, value)| [word.to_owned(), value]).collect()
    }

    /// Who was called since the last time: what a probe says is one thing, what the host heard another.
    pub fn called(&self) -> Vec<String> {
        let mut called = Vec::new();
        for (place, listener) in self.places.iter().zip(&self.unix) {
            while listener.accept().is_ok() {
                called.push(format!("a socket in {}", place.display()));
            }
        }
        while self.named.accept().is_ok() {
            called.push("an abstract socket".to_owned());
        }
        while self.tcp.accept().is_ok() {
            called.push("a port of the loopback interface".to_owned());
        }
        called.dedup();
        called
    }
}

impl Drop for Baits {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.places[1]);
    }
}
