//! Bytes become the specification's types. Everything refused here is refused for its shape; what it means is judged
//! in `planner`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::strict::{Configuration, Strict};
use super::{SpecError, check, tolerate};

/// The largest config.json or process file, in bytes. The largest seen in the wild are around 100 KiB, but for the ones that
/// carry files in annotations.
pub const MAX_BYTES: usize = 32 << 20;

/// A bundle as it was read: what is run is what was hashed.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the bytes say, with annotations that mean a property of the specification translated into it.
    pub spec: Spec,
    /// config.json, byte for byte.
    pub bytes: Vec<u8>,
    /// SHA-256 of `bytes`, in lower-case hexadecimal.
    pub digest: String,
    /// Absolute, with symbolic links resolved.
    pub bundle: PathBuf,
    /// What was accepted but will have no effect.
    pub warnings: Vec<String>,
}

/// Reads `config.json` of a bundle.
pub fn load(bundle: &Path) -> Result<Loaded, SpecError> {
    load_from(bundle, None)
}

/// Reads the file that stands in for it, if there is one.
pub fn load_from(bundle: &Path, instead: Option<&Path>) -> Result<Loaded, SpecError> {
    let bundle = bundle_folder(bundle)?;
    let config = instead.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    // Opening a pipe would wait for its writer otherwise.
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&config) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && instead.is_none() => {
            return Err(SpecError::ConfigMissing { bundle });
        }
        // A socket.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(SpecError::NotFile { path: config }),
        Err(source) => return Err(SpecError::Read { path: config, source }),
    };
    match file.metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(SpecError::NotFile { path: config }),
        Err(source) => return Err(SpecError::Read { path: config, source }),
    }
    let bytes = read_capped(file, &config)?;
    Loaded::from_bytes(bytes, bundle)
}

impl Loaded {
    /// A configuration that is not in a bundle's file.
    pub fn from_bytes(bytes: Vec<u8>, bundle: PathBuf) -> Result<Loaded, SpecError> {
        let (spec, warnings) = parse(&bytes)?;
        Ok(Loaded { spec, digest: digest(&bytes), bytes, bundle, warnings })
    }
}

/// SHA-256, in hex: what tells a kept configuration from one that was changed since.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// config.json's text as a `Spec`, with warnings about what was accepted but will have no effect.
pub fn parse(bytes: &[u8]) -> Result<(Spec, Vec<String>), SpecError> {
    const WHAT: &str = "config.json";
    let Configuration { mut value, foreign } = read_json(WHAT, bytes)?;
    let mut warnings = foreign.iter().map(|name| format!("{name}: ignored, this is Linux")).collect();
    tolerate::config(&mut value, &mut warnings);
    Ok((typed(WHAT, value)?, warnings))
}

/// `exec --process FILE`; `-` is standard input.
pub fn load_process(file: &Path) -> Result<(Process, Vec<String>), SpecError> {
    parse_process(&read_file_or_stdin(file)?)
}

/// `update --resources FILE`; `-` is standard input.
pub(super) fn load_resources(file: &Path) -> Result<(LinuxResources, Vec<String>), SpecError> {
    parse_resources(&read_file_or_stdin(file)?)
}

fn read_file_or_stdin(file: &Path) -> Result<Vec<u8>, SpecError> {
    if file == Path::new("-") {
        return read_capped(io::stdin().lock(), Path::new("standard input"));
    }
    let opened = File::open(file).map_err(|source| SpecError::Read { path: file.to_owned(), source })?;
    read_capped(opened, file)
}

/// The text of a resources file, the `linux.resources` property of a config.json.
pub(super) fn parse_resources(bytes: &[u8]) -> Result<(LinuxResources, Vec<String>), SpecError> {
    parse_as("the resources file", bytes, |value, _| tolerate::drop_nulls(value))
}

/// The text of a process file, the `process` property of a config.json.
pub fn parse_process(bytes: &[u8]) -> Result<(Process, Vec<String>), SpecError> {
    parse_as("the process file", bytes, |value, warnings| tolerate::process(value, warnings, ""))
}

fn parse_as<T: DeserializeOwned>(
    what: &str,
    bytes: &[u8],
    tolerate: impl FnOnce(&mut Value, &mut Vec<String>),
) -> Result<(T, Vec<String>), SpecError> {
    let mut value: Value = read_json(what, bytes)?;
    let mut warnings = Vec::new();
    tolerate(&mut value, &mut warnings);
    Ok((typed(what, value)?, warnings))
}

fn read_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, SpecError> {
    if bytes.len() > MAX_BYTES {
        return Err(SpecError::TooLarge { what: what.to_owned(), limit: MAX_BYTES as u64 });
    }
    serde_json::from_slice(bytes).map_err(|source| match source.is_data() {
        true => {
            let problem = one_line(&source.to_string(), 600);
            SpecError::Shape { what: what.to_owned(), field: named(""), problem }
        }
        false => SpecError::Syntax { what: what.to_owned(), line: source.line(), column: source.column(), source },
    })
}

/// Takes the value apart: a configuration of the largest size is not to be there several times over.
fn typed<T: DeserializeOwned>(what: &str, value: Value) -> Result<T, SpecError> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| shape_error(what, &error))
}

fn shape_error(what: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> SpecError {
    let problem = one_line(&error.inner().to_string(), 600);
    SpecError::Shape { what: what.to_owned(), field: named(&error.path().to_string()), problem }
}

fn named(path: &str) -> String {
    if path.is_empty() || path == "." { "the top level".to_owned() } else { one_line(path, 200) }
}

/// The parser quotes what it found, however long and whatever is in it.
fn one_line(text: &str, most: usize) -> String {
    let mut line: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

fn bundle_folder(bundle: &Path) -> Result<PathBuf, SpecError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SpecError::BundleMissing { path: bundle.to_owned() },
        _ => SpecError::Bundle { path: bundle.to_owned(), source },
    };
    check::path("--bundle", bundle)?;
    match fs::metadata(bundle).map_err(failed)?.is_dir() {
        true => {
            let bundle = fs::canonicalize(bundle).map_err(failed)?;
            // It stands in the state that hooks and callers read, which is JSON.
            match bundle.to_str() {
                Some(_) => Ok(bundle),
                None => {
                    Err(SpecError::invalid("--bundle", format!("{bundle:?} is no text in UTF-8: give it another name")))
                }
            }
        }
        false => Err(SpecError::BundleNotFolder { path: bundle.to_owned() }),
    }
}

fn read_capped(reader: impl Read, path: &Path) -> Result<Vec<u8>, SpecError> {
    let mut bytes = Vec::new();
    match reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() > MAX_BYTES => {
            Err(SpecError::TooLarge { what: path.display().to_string(), limit: MAX_BYTES as u64 })
        }
        Ok(_) => Ok(bytes),
        Err(source) => Err(SpecError::Read { path: path.to_owned(), source }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_loaded_with_its_bytes_and_their_digest() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("config.json"), r#"{"ociVersion":"1.0.2"}"#).unwrap();
        let loaded = load(bundle.path()).unwrap();
        assert_eq!(loaded.bytes, br#"{"ociVersion":"1.0.2"}"#);
        assert_eq!(loaded.digest, "99358bfb45523bd1e5f4227074ec9cb531eb3c6d41ca25d208a4efb46015a578");
        assert!(loaded.bundle.is_absolute());
        assert_eq!(loaded.spec.version(), "1.0.2");
    }

    #[test]
    fn each_way_to_miss_a_bundle_has_its_own_message() {
        let folder = tempfile::tempdir().unwrap();
        let missing = load(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, SpecError::BundleMissing { .. }), "{missing}");
        let empty = load(folder.path()).unwrap_err();
        assert!(empty.to_string().contains("run `sandkeep spec`"), "{empty}");
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(load(&file).unwrap_err(), SpecError::BundleNotFolder { .. }));
        fs::create_dir(folder.path().join("config.json")).unwrap();
        assert!(matches!(load(folder.path()).unwrap_err(), SpecError::NotFile { .. }));
    }

    #[test]
    fn broken_json_is_told_with_line_and_column() {
        let error = parse(b"{\n  \"ociVersion\": ,\n}").unwrap_err();
        assert_eq!(error.to_string(), "config.json is not valid JSON (line 2, column 17)");
    }

    #[test]
    fn a_wrong_type_is_told_with_the_path_of_the_field() {
        let error = parse(br#"{"mounts":[{"destination":"/a","options":[1]}]}"#).unwrap_err();
        assert_eq!(error.field(), Some("mounts[0].options[0]"));
        for (text, field) in [
            ("[]", "the top level"),
            ("3", "the top level"),
            (r#"{"root":["rootfs",true]}"#, "root"),
            (r#"{"linux":{"devices":[{"type":"c"},["/dev/x","c"]]}}"#, "linux.devices[1]"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().field(), Some(field), "{text}");
        }
    }

    #[test]
    fn too_much_is_refused_before_it_is_parsed() {
        let big = vec![b' '; MAX_BYTES + 1];
        assert!(matches!(parse(&big).unwrap_err(), SpecError::TooLarge { .. }));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), &big).unwrap();
        assert!(matches!(load(folder.path()).unwrap_err(), SpecError::TooLarge { .. }));
    }

    #[test]
    fn a_process_file_needs_no_user_and_may_hold_nulls() {
        let (process, warnings) = parse_process(br#"{"args":["a"],"cwd":"/","env":null}"#).unwrap();
        assert_eq!((process.user().uid(), process.env()), (0, &None));
        assert!(warnings.is_empty());
    }
}
