//! The files of a release, read once: their checksums, and the few that are needed as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ring::digest::{Context, SHA256};
use tar::{Archive, EntryType};
use thiserror::Error;

/// How many bytes a release may have in all; one has some hundred million.
const MAX_BYTES: u64 = 4 << 30;
/// How many files a release may have; one has some twenty.
const MAX_FILES: usize = 1000;
/// How many bytes a file may have that is kept in memory.
const MAX_KEPT: u64 = 1 << 20;
/// How many zeros may follow the last file; tar(1) fills up records of 10 KiB.
const MAX_PADDING: u64 = 1 << 20;

/// Why the files of a release cannot be read, or may not be unpacked.
#[derive(Debug, Error)]
pub enum ContentsError {
    /// A file, or the archive, cannot be read.
    #[error("{0}: {1}")]
    Read(String, std::io::Error),
    /// The archive is damaged, or no tar archive.
    #[error("this is not a whole tar archive: {0}")]
    Archive(std::io::Error),
    /// A name that could leave the folder, or mislead whoever reads it.
    #[error("{0:?} is not a name that a file of a release has")]
    Name(String),
    /// A link, a device or the like, or an extension of the format that another program could read differently.
    #[error("{0:?} is neither a plain file nor the folder of the release")]
    Kind(String),
    /// The same name twice: which of them is unpacked depends on the program.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// More than a release has.
    #[error("{0:?} makes this larger than any release: more than {MAX_BYTES} bytes, or {MAX_FILES} files")]
    TooLarge(String),
    /// More than a list or a signature has.
    #[error("{0:?} is larger than {MAX_KEPT} bytes")]
    TooLong(String),
    /// Bytes behind the end of the archive, which another program could read.
    #[error("the archive goes on behind its end")]
    Trailing,
}

/// The SHA-256 of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Digest> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(Digest(digest))
    }
}

/// The files of a release by their names.
#[derive(Default)]
pub(super) struct Contents {
    digests: BTreeMap<String, Digest>,
    kept: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

impl Contents {
    /// Reads a folder, or a tar archive of one. The files named in `keep` are kept as they are.
    pub(super) fn read(release: &Path, keep: &[&str]) -> Result<Contents, ContentsError> {
        let unreadable = |error| ContentsError::Read(release.display().to_string(), error);
        let mut contents = Contents::default();
        if release.is_dir() {
            contents.read_folder(release, keep)?;
        } else {
            let file = File::open(release).map_err(unreadable)?;
            contents.read_archive(BufReader::with_capacity(1 << 16, file), keep)?;
        }
        Ok(contents)
    }

    /// A file that was kept.
    pub(super) fn kept(&self, name: &str) -> Option<&[u8]> {
        self.kept.get(name).map(Vec::as_slice)
    }

    /// The checksum of each file.
    pub(super) fn digests(&self) -> &BTreeMap<String, Digest> {
        &self.digests
    }

    fn read_folder(&mut self, folder: &Path, keep: &[&str]) -> Result<(), ContentsError> {
        let unreadable = |path: &Path, error| ContentsError::Read(path.display().to_string(), error);
        for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
            let entry = entry.map_err(|error| unreadable(folder, error))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            // A link is not followed.
            let metadata = entry.metadata().map_err(|error| unreadable(&path, error))?;
            if !metadata.is_file() {
                return Err(ContentsError::Kind(name));
            }
            let file = File::open(&path).map_err(|error| unreadable(&path, error))?;
            let read_error = |error| unreadable(&path, error);
            self.add(&name, metadata.len(), BufReader::with_capacity(1 << 16, file), keep, read_error)?;
        }
        Ok(())
    }

    /// Extensions of the format (long names, sparse files) are not interpreted, so that they are entries of a kind that is refused.
    fn read_archive(&mut self, archive: impl Read, keep: &[&str]) -> Result<(), ContentsError> {
        let mut archive = Archive::new(archive);
        let mut folder = None;
        for entry in archive.entries().map_err(ContentsError::Archive)?.raw(true) {
            let entry = entry.map_err(ContentsError::Archive)?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let (parent, name) = split(&path)?;
            if folder.get_or_insert_with(|| parent.to_owned()) != parent {
                return Err(ContentsError::Name(path));
            }
            let size = entry.header().entry_size().map_err(ContentsError::Archive)?;
            match (entry.header().entry_type(), name) {
                (EntryType::Directory, None) if size == 0 => {}
                (EntryType::Regular, Some(name)) => self.add(name, size, entry, keep, ContentsError::Archive)?,
                _ => return Err(ContentsError::Kind(path)),
            }
        }
        ends(archive.into_inner())
    }

    fn add(
        &mut self,
        name: &str,
        size: u64,
        mut file: impl Read,
        keep: &[&str],
        unreadable: impl Fn(std::io::Error) -> ContentsError,
    ) -> Result<(), ContentsError> {
        if !is_safe(name) {
            return Err(ContentsError::Name(name.to_owned()));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_BYTES || self.digests.len() == MAX_FILES {
            return Err(ContentsError::TooLarge(name.to_owned()));
        }
        let keeps = keep.contains(&name);
        if keeps && size > MAX_KEPT {
            return Err(ContentsError::TooLong(name.to_owned()));
        }
        let (mut sum, mut kept, mut buffer) = (Context::new(&SHA256), Vec::new(), [0; 1 << 14]);
        let mut left = size;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = file.read(&mut buffer[..most]).map_err(&unreadable)?;
            if read == 0 {
                return Err(unreadable(std::io::ErrorKind::UnexpectedEof.into()));
            }
            sum.update(&buffer[..read]);
            if keeps {
                kept.extend_from_slice(&buffer[..read]);
            }
            left -= read as u64;
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(sum.finish().as_ref());
        if keeps {
            self.kept.insert(name.to_owned(), kept);
        }
        match self.digests.insert(name.to_owned(), Digest(digest)) {
            None => Ok(()),
            Some(_) => Err(ContentsError::Twice(name.to_owned())),
        }
    }
}

/// The folder and the file that a path of an archive names. The release's files are in one folder, without others below it.
fn split(path: &str) -> Result<(&str, Option<&str>), ContentsError> {
    match path.split_once('/') {
        Some((folder, "")) if is_safe(folder) => Ok((folder, None)),
        Some((folder, name)) if is_safe(folder) && is_safe(name) => Ok((folder, Some(name))),
        _ => Err(ContentsError::Name(path.to_owned())),
    }
}

/// Whether a name is a file's in its own folder, for every program that reads it: a shell, make and Windows too.
fn is_safe(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 128 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_plain)
}

/// Nothing but zeros fills an archive up to its last record.
fn ends(rest: impl Read) -> Result<(), ContentsError> {
    let mut padding = Vec::new();
    rest.take(MAX_PADDING + 1).read_to_end(&mut padding).map_err(ContentsError::Archive)?;
    let is_padding = padding.len() as u64 <= MAX_PADDING && padding.iter().all(|byte| *byte == 0);
    if is_padding { Ok(()) } else { Err(ContentsError::Trailing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_in_their_folder_are_safe() {
        for name in ["SHA256SUMS", "gitward-0.2.0.tgz", "a_b"] {
            assert!(is_safe(name), "{name}");
        }
        for name in ["", ".", "..", ".bashrc", "-rf", "a/b", "a\\b", "a b", "a\n", "ä", &"a".repeat(129)] {
            assert!(!is_safe(name), "{name:?}");
        }
    }

    #[test]
    fn a_digest_has_64_digits() {
        assert_eq!(Digest::parse(&"0f".repeat(32)), Some(Digest([15; 32])));
        for text in ["", "0f", &"0g".repeat(32), &"0f".repeat(33), &"+f".repeat(32)] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
    }
}
