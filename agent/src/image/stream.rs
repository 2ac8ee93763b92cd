//! Readers that a layer passes through: a part of the archive file, decompression, and limits on what comes out.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::limits::IMAGE_ZSTD_WINDOW_LEN_MAX;

/// Bytes that are read at once.
pub(crate) const CHUNK_LEN: usize = 64 * 1024;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame: the first byte may also be one of the next fifteen.
const ZSTD_SKIP_MAGIC: &[u8] = &[0x50, 0x2a, 0x4d, 0x18];

/// Inside an [`io::Error`]: the limit of a reader is reached.
#[derive(Debug, thiserror::Error)]
#[error("a limit is reached")]
pub(crate) struct LimitReached;

/// Whether a reader of ours has said so.
pub(crate) fn is_limit(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<LimitReached>())
}

/// A part of a file. It ends early only with an error.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    file: &'a File,
    next: u64,
    left: u64,
}

impl<'a> Section<'a> {
    pub(crate) fn new(file: &'a File, offset: u64, len: u64) -> Self {
        Self {
            file,
            next: offset,
            left: len,
        }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = room.min(buffer.len());
        let len = self
            .file
            .read_at(buffer.get_mut(..len).unwrap_or_default(), self.next)?;
        if len == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = u64::try_from(len).unwrap_or(u64::MAX);
        self.next = self.next.saturating_add(read);
        self.left = self.left.saturating_sub(read);
        Ok(len)
    }
}

/// How many bytes may still be read; shared by a reader and whoever gives out more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowance(Rc<Cell<u64>>);

impl Allowance {
    pub(crate) fn new(len: u64) -> Self {
        Self(Rc::new(Cell::new(len)))
    }

    pub(crate) fn set(&self, len: u64) {
        self.0.set(len);
    }

    pub(crate) fn left(&self) -> u64 {
        self.0.get()
    }
}

/// Gives no more than what is allowed: then [`LimitReached`].
#[derive(Debug)]
pub(crate) struct Limited<R> {
    source: R,
    allowance: Allowance,
}

impl<R> Limited<R> {
    pub(crate) fn new(source: R, allowance: Allowance) -> Self {
        Self { source, allowance }
    }

    pub(crate) fn into_inner(self) -> R {
        self.source
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.left();
        let len = usize::try_from(left).unwrap_or(usize::MAX);
        if len == 0 && !buffer.is_empty() {
            // What ends exactly at its limit has not gone beyond it.
            let mut byte = [0];
            return match self.source.read(&mut byte)? {
                0 => Ok(0),
                _ => Err(io::Error::other(LimitReached)),
            };
        }
        let len = len.min(buffer.len());
        let len = self
            .source
            .read(buffer.get_mut(..len).unwrap_or_default())?;
        let read = u64::try_from(len).unwrap_or(u64::MAX);
        self.allowance.set(left.saturating_sub(read));
        Ok(len)
    }
}

impl<R: Seek> Seek for Limited<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}

/// What is inside gzip or zstd, told by the first bytes; anything else as it is.
pub(crate) fn decompress<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(CHUNK_LEN, source);
    let head = source.fill_buf()?;
    let is_gzip = head.starts_with(GZIP_MAGIC);
    let is_zstd = is_zstd_frame(head);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(source))
    } else if is_zstd {
        Box::new(Zstd::new(source))
    } else {
        Box::new(source)
    })
}

/// Whether these first bytes are of something compressed.
pub(crate) fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(GZIP_MAGIC) || is_zstd_frame(head)
}

fn is_zstd_frame(head: &[u8]) -> bool {
    let Some([first, rest @ ..]) = head.first_chunk::<4>() else {
        return false;
    };
    let is_skip = [first & 0xf0, rest[0], rest[1], rest[2]] == ZSTD_SKIP_MAGIC;
    head.starts_with(ZSTD_MAGIC) || is_skip
}

/// All frames of a zstd stream; the decoder itself knows only one.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(IMAGE_ZSTD_WINDOW_LEN_MAX);
        Self {
            source,
            decoder,
            is_in_frame: false,
        }
    }

    /// Begins the next frame that has content. False at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.source).take(u64::from(length));
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_in_frame {
                self.is_in_frame = self.next_frame()?;
                if !self.is_in_frame {
                    return Ok(0);
                }
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let len = self.decoder.read(buffer)?;
            if len > 0 {
                return Ok(len);
            }
            self.is_in_frame = false;
        }
    }
}
