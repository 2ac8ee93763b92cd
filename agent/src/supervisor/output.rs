//! One output of a task, kept in a file that is put aside at its limit: at most the newest file and one older.
//!
//! A task is never held up: what cannot be written, because the disk is full or gone, is dropped and counted.

use std::fs::{self, File};
use std::io::{self, Write as _};

/// One output.
pub(super) struct Output {
    name: &'static str,
    bytes_max: u64,
    file: Option<File>,
    len: u64,
    dropped: u64,
    /// The task has closed its end.
    is_closed: bool,
}

impl Output {
    pub(super) fn new(name: &'static str, bytes_max: u64) -> Self {
        let mut output = Self {
            name,
            bytes_max,
            file: None,
            len: 0,
            dropped: 0,
            is_closed: false,
        };
        // Made at once, so that readers find it; if it cannot be, the first write tries again.
        let _ = output.open();
        output
    }

    /// The file's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether there is nothing more to come.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes note that there is nothing more to come.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.file = None;
    }

    /// Writes, or drops.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    let lost = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    self.dropped = self.dropped.saturating_add(lost);
                    return;
                }
            }
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = match self.bytes_max {
            0 => u64::MAX,
            max => max.saturating_sub(self.len),
        };
        if room == 0 {
            self.put_aside()?;
            return Ok(0);
        }
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let written = self.open()?.write(bytes.get(..count).unwrap_or_default())?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.len += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn put_aside(&mut self) -> io::Result<()> {
        fs::rename(self.name, format!("{}.1", self.name))?;
        self.file = None;
        self.len = 0;
        self.open()?;
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut options = File::options();
            let file = options.create(true).append(true).open(self.name)?;
            self.len = file.metadata()?.len();
            self.file = Some(file);
        }
        self.file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
