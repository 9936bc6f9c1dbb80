//! One JSON line an error to the log, and more to the debug log; silence where there is none.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

/// Where the supervisor says what is wrong, and with a debug log all that it does. One JSON object a line; what cannot
/// be written is lost.
#[derive(Debug)]
pub struct Log {
    errors: Option<File>,
    debug: Option<File>,
}

impl Log {
    /// `errors` gets errors alone, `debug` everything. Both are written to and never read.
    pub fn new(errors: Option<OwnedFd>, debug: Option<OwnedFd>) -> Log {
        Log { errors: errors.map(File::from), debug: debug.map(File::from) }
    }

    /// To both.
    pub fn error(&self, message: &str) {
        write_line(self.errors.as_ref(), "error", message);
        write_line(self.debug.as_ref(), "error", message);
    }

    /// Only for whoever gave a debug log.
    pub fn debug(&self, message: &str) {
        if self.debug.is_some() {
            write_line(self.debug.as_ref(), "debug", message);
        }
    }

    /// A panic is told in the log: nobody reads our standard error.
    pub fn install_panic_hook(&self) {
        let Some(file) = self.errors.as_ref().or(self.debug.as_ref()).and_then(|file| file.try_clone().ok()) else {
            return;
        };
        std::panic::set_hook(Box::new(move |panic| write_line(Some(&file), "error", &format!("{panic}"))));
    }
}

/// One write, so that lines of several writers do not mix. A log that cannot be written is nobody's reason to stop.
fn write_line(file: Option<&File>, level: &str, message: &str) {
    let Some(mut file) = file else { return };
    let time = jiff::Timestamp::now().to_string();
    let line = serde_json::json!({ "level": level, "msg": message, "time": time });
    let _ = file.write_all(format!("{line}\n").as_bytes());
}
