//! Sparse files: which pieces have data, in the three formats in use, and whether they fit.

use std::io::Read;

use super::{BLOCK_BYTES, TarError, TarStream, number, pax};

/// Pieces of one sparse file; more is an attempt to fill memory.
pub(super) const SPARSE_PIECES_MAX: usize = 65_536;

/// Offset and length of each piece that has data, in ascending order.
pub(crate) type SparseMap = Vec<(u64, u64)>;

impl<R: Read> TarStream<'_, R> {
    /// The map of a sparse file and its real size, from whichever of the formats it has.
    pub(super) fn sparse(
        &mut self,
        header: &tar::Header,
        pax: &pax::Records,
        tape_size: u64,
    ) -> Result<(Option<SparseMap>, u64), TarError> {
        let at = self.position;
        let bad = |field| TarError::BadField {
            field,
            position: at,
        };
        let (map, size) = if header.entry_type().as_byte() == b'S' {
            let gnu = header.as_gnu().ok_or_else(|| bad("sparse header"))?;
            let map = self.gnu_map(gnu)?;
            (map, number(gnu.real_size(), "sparse size", at)?)
        } else if let Some(size) = pax.sparse_size {
            let map = match &pax.sparse_map {
                Some(map) => map.clone(),
                None if pax.sparse_major == Some(1) => self.pax_map()?,
                None => return Err(bad("sparse format")),
            };
            (map, size)
        } else {
            return Ok((None, tape_size));
        };
        let mut end = 0;
        let mut data = 0_u64;
        for (offset, length) in &map {
            if *offset < end {
                return Err(bad("sparse map"));
            }
            end = offset
                .checked_add(*length)
                .ok_or_else(|| bad("sparse map"))?;
            data = data.saturating_add(*length);
        }
        if end > size || data != self.left {
            return Err(bad("sparse map"));
        }
        Ok((Some(map), size))
    }

    /// The old GNU format: four pieces in the header, 21 in each block after it.
    fn gnu_map(&mut self, gnu: &tar::GnuHeader) -> Result<SparseMap, TarError> {
        let at = self.position;
        let mut map = Vec::new();
        push_pieces(&mut map, &gnu.sparse, at)?;
        let mut extended = gnu.is_extended();
        let (left, padding) = (self.left, self.padding);
        while extended {
            let mut block = tar::GnuExtSparseHeader::new();
            self.fill(block.as_mut_bytes())?;
            push_pieces(&mut map, &block.sparse, at)?;
            extended = block.is_extended();
        }
        (self.left, self.padding) = (left, padding);
        Ok(map)
    }

    /// The PAX 1.0 format: decimal numbers, one per line, in the first blocks of the data.
    fn pax_map(&mut self) -> Result<SparseMap, TarError> {
        let bad = || TarError::BadField {
            field: "sparse map",
            position: 0,
        };
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut number = 0_u64;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            let mut block = [0; BLOCK_BYTES];
            self.left = self.left.checked_sub(BLOCK_BYTES as u64).ok_or_else(bad)?;
            self.fill(&mut block)?;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        number = number
                            .checked_mul(10)
                            .and_then(|number| number.checked_add(digit))
                            .ok_or_else(bad)?;
                    }
                    b'\n' if wanted.is_none() => {
                        let pieces = usize::try_from(number).map_err(|_range| bad())?;
                        if pieces > SPARSE_PIECES_MAX {
                            return Err(bad());
                        }
                        wanted = Some(pieces * 2);
                        number = 0;
                    }
                    b'\n' if wanted.is_some_and(|wanted| numbers.len() < wanted) => {
                        numbers.push(number);
                        number = 0;
                    }
                    0 => {}
                    _letter => return Err(bad()),
                }
            }
        }
        Ok(numbers
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect())
    }
}

fn push_pieces(
    map: &mut SparseMap,
    pieces: &[tar::GnuSparseHeader],
    position: u64,
) -> Result<(), TarError> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if map.len() >= SPARSE_PIECES_MAX {
            return Err(TarError::BadField {
                field: "sparse map",
                position,
            });
        }
        let field = "sparse map";
        map.push((
            number(piece.offset(), field, position)?,
            number(piece.length(), field, position)?,
        ));
    }
    Ok(())
}
