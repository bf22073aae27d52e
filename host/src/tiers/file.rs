//! Rows in a file that has no name: it is removed as soon as it is open, so nothing stays behind whatever becomes of
//! the process. A checksum of each row stays in memory: a row that comes back changed is an error, not a result.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names tried before a directory is given up.
const N_NAMES: u64 = 100;

/// Bytes of a checksum: chance finds no change of 2^128.
type Checksum = [u8; 16];

/// A file of rows.
#[derive(Debug)]
pub(crate) struct SpillFile {
    file: File,
    /// The name, where the system lets no open file lose it.
    name: Option<PathBuf>,
    directory: PathBuf,
    what: String,
    bytes: u64,
    row_bytes: usize,
    /// Of each row that was written.
    checksums: BTreeMap<u64, Checksum>,
}

fn checksum(row: &[u8]) -> Checksum {
    let mut first = Checksum::default();
    first.copy_from_slice(&blake3::hash(row).as_bytes()[..16]);
    first
}

/// A new file, for its owner alone.
fn create(directory: &Path) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut last = ErrorKind::AlreadyExists.into();
    for _ in 0..N_NAMES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = directory.join(format!(".ferrocerium-spill-{}-{number}", std::process::id()));
        match options.open(&name) {
            Ok(file) => return Ok((file, name)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

impl SpillFile {
    /// A file of so many bytes, which take room on the disk as they are written.
    ///
    /// # Errors
    /// [`Error::SpillFile`], [`Error::NotNow`].
    pub(crate) fn create(directory: &Path, what: String, bytes: u64, row_bytes: usize) -> Result<Self> {
        let created = create(directory);
        let refused = |error: io::Error| Error::SpillFile {
            directory: directory.display().to_string(),
            during: "create",
            words: error.to_string(),
        };
        let (file, name) = created.map_err(refused)?;
        let name = std::fs::remove_file(&name).is_err().then_some(name);
        let file = Self::over(file, name, directory, what, bytes, row_bytes);
        file.file.set_len(bytes).map_err(|e| file.error("set its length", &e))?;
        Ok(file)
    }

    fn over(
        file: File,
        name: Option<PathBuf>,
        directory: &Path,
        what: String,
        bytes: u64,
        row_bytes: usize,
    ) -> Self {
        let (directory, checksums) = (directory.to_owned(), BTreeMap::new());
        Self { file, name, directory, what, bytes, row_bytes, checksums }
    }

    fn error(&self, during: &'static str, error: &io::Error) -> Error {
        let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
        if full.contains(&error.kind()) {
            let written = self.checksums.len() as u64 * self.row_bytes as u64;
            return Error::NotNow { what: self.what.clone(), found: self.bytes, expected: written };
        }
        self.damaged(during, error.to_string())
    }

    fn damaged(&self, during: &'static str, words: String) -> Error {
        Error::SpillFile { directory: self.directory.display().to_string(), during, words }
    }

    fn seek(&self, row: u64) -> io::Result<()> {
        (&self.file).seek(SeekFrom::Start(row * self.row_bytes as u64)).map(drop)
    }

    /// Writes whole rows.
    ///
    /// # Errors
    /// [`Error::SpillFile`]; [`Error::NotNow`] when the disk is full.
    pub(crate) fn write(&mut self, row: u64, bytes: &[u8]) -> Result<()> {
        let rows = || (row..).zip(bytes.chunks_exact(self.row_bytes));
        // Until they are written whole, nothing is known of them.
        for (at, _) in rows() {
            self.checksums.remove(&at);
        }
        let written = self.seek(row).and_then(|()| (&self.file).write_all(bytes));
        written.map_err(|e| self.error("write", &e))?;
        self.checksums.extend(rows().map(|(at, bytes)| (at, checksum(bytes))));
        Ok(())
    }

    /// Reads whole rows; those that were never written are whatever the file has.
    ///
    /// # Errors
    /// [`Error::SpillFile`], also for a row that is not as it was written.
    pub(crate) fn read(&self, row: u64, bytes: &mut [u8]) -> Result<()> {
        let read = self.seek(row).and_then(|()| (&self.file).read_exact(bytes));
        read.map_err(|e| self.error("read", &e))?;
        for (at, bytes) in (row..).zip(bytes.chunks_exact(self.row_bytes)) {
            if self.checksums.get(&at).is_some_and(|expected| *expected != checksum(bytes)) {
                return Err(self.damaged("read", format!("row {at} is not as it was written")));
            }
        }
        Ok(())
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = std::fs::remove_file(name)
        {
            tracing::warn!(%error, name = %name.display(), "a spill file stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: usize = 64;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ferrocerium-file-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn rows_come_back_and_no_name_stays() {
        let path = directory("rows");
        let mut file = SpillFile::create(&path, "rows".into(), 8 * ROW as u64, ROW).unwrap();
        #[cfg(unix)]
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        let rows: Vec<u8> = (0..3 * ROW).map(|i| i as u8).collect();
        file.write(2, &rows).unwrap();
        let mut back = vec![0; 2 * ROW];
        file.read(3, &mut back).unwrap();
        assert!(back == rows[ROW..]);
        // What was never written is zero.
        file.read(6, &mut back).unwrap();
        assert!(back.iter().all(|&b| b == 0));
        drop(file);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn a_changed_row_is_an_error_until_it_is_written_again() {
        let path = directory("changed");
        let mut file = SpillFile::create(&path, "rows".into(), 4 * ROW as u64, ROW).unwrap();
        file.write(1, &[7; ROW]).unwrap();
        (&file.file).seek(SeekFrom::Start(ROW as u64 + 5)).unwrap();
        (&file.file).write_all(&[8]).unwrap();
        let error = file.read(1, &mut [0; ROW]).unwrap_err();
        let expected = "row 1 is not as it was written";
        assert!(matches!(&error, Error::SpillFile { words, .. } if words == expected), "{error}");
        file.file.set_len(ROW as u64).unwrap();
        let error = file.read(1, &mut [0; ROW]).unwrap_err();
        assert!(matches!(error, Error::SpillFile { during: "read", .. }), "{error}");
        file.write(1, &[9; ROW]).unwrap();
        let mut row = [0; ROW];
        file.read(1, &mut row).unwrap();
        assert_eq!(row, [9; ROW]);
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there() {
        let missing = directory("missing");
        std::fs::remove_dir(&missing).unwrap();
        let error = SpillFile::create(&missing, "rows".into(), 64, ROW).unwrap_err();
        assert!(matches!(&error, Error::SpillFile { during: "create", .. }), "{error}");
        assert!(error.to_string().contains("ferrocerium-file-missing"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_may_have_room_later() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let path = PathBuf::from("/dev");
        let mut file = SpillFile::over(full, None, &path, "rows".into(), 256, ROW);
        let error = file.write(0, &[1; ROW]).unwrap_err();
        assert_eq!(error, Error::NotNow { what: "rows".into(), found: 256, expected: 0 });
    }
}
