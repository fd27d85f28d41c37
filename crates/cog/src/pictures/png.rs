//! PNG, read and written.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};

use super::raster::{Dot, Raster};

/// Bytes that reading may take besides the dots.
const MEMORY: usize = 64 << 20;

/// The dots, of an animated picture those of the first; nothing if it is damaged, or larger than any screen.
pub(super) fn decode(content: &[u8]) -> Option<Raster> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(content), Limits { bytes: MEMORY });
    // Grey, or red, green and blue, with eight bits each and perhaps an opacity.
    decoder.set_transformations(Transformations::normalize_to_color8());
    // Who sees a picture sees what is wrong with it.
    decoder.ignore_checksums(true);
    let mut reader = decoder.read_info().ok()?;
    let (width, height) = reader.info().size();
    let mut raster = Raster::new(width, height)?;
    let mut samples = vec![0; reader.output_buffer_size()?];
    let frame = reader.next_frame(&mut samples).ok()?;
    let each = frame.color_type.samples();
    let dots = samples.get(..frame.buffer_size())?.chunks_exact(each);
    if dots.len() != raster.dots.len() {
        return None;
    }
    for (dot, samples) in raster.dots.iter_mut().zip(dots) {
        *dot = to_dot(samples)?;
    }
    Some(raster)
}

fn to_dot(samples: &[u8]) -> Option<Dot> {
    Some(match *samples {
        [grey] => [grey, grey, grey, u8::MAX],
        [grey, opacity] => [grey, grey, grey, opacity],
        [red, green, blue] => [red, green, blue, u8::MAX],
        [red, green, blue, opacity] => [red, green, blue, opacity],
        _ => return None,
    })
}

/// As a file, for terminals that take nothing else; nothing if it is too large for one.
pub(super) fn encode(raster: &Raster) -> Option<Vec<u8>> {
    let mut file = Vec::new();
    let (width, height) = (
        u32::try_from(raster.width).ok()?,
        u32::try_from(raster.height).ok()?,
    );
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(raster.dots.as_flattened()).ok()?;
    writer.finish().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(colour: ColorType, depth: BitDepth, palette: &[u8], rows: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 2, 1);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if !palette.is_empty() {
            encoder.set_palette(palette);
            encoder.set_trns(&[0x80, 0xff][..]);
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(rows).unwrap();
        writer.finish().unwrap();
        file
    }

    #[test]
    fn every_kind_is_read() {
        let (eight, sixteen) = (BitDepth::Eight, BitDepth::Sixteen);
        for (colour, depth, palette, rows, dots) in [
            (
                ColorType::Grayscale,
                BitDepth::One,
                &[][..],
                &[0b0100_0000][..],
                [[0, 0, 0, 255], [255, 255, 255, 255]],
            ),
            (
                ColorType::Grayscale,
                sixteen,
                &[],
                &[1, 99, 200, 99],
                [[1, 1, 1, 255], [200, 200, 200, 255]],
            ),
            (
                ColorType::GrayscaleAlpha,
                eight,
                &[],
                &[1, 2, 3, 4],
                [[1, 1, 1, 2], [3, 3, 3, 4]],
            ),
            (
                ColorType::Rgb,
                eight,
                &[],
                &[1, 2, 3, 4, 5, 6],
                [[1, 2, 3, 255], [4, 5, 6, 255]],
            ),
            (
                ColorType::Rgba,
                eight,
                &[],
                &[1, 2, 3, 4, 5, 6, 7, 8],
                [[1, 2, 3, 4], [5, 6, 7, 8]],
            ),
            (
                ColorType::Indexed,
                BitDepth::Two,
                &[10, 20, 30, 40, 50, 60],
                &[0b0001_0000],
                [[10, 20, 30, 0x80], [40, 50, 60, 0xff]],
            ),
        ] {
            let file = written(colour, depth, palette, rows);
            let raster = decode(&file).unwrap();
            assert_eq!((raster.width, raster.height), (2, 1));
            assert_eq!(raster.dots, dots, "{colour:?} {depth:?}");
        }
    }

    #[test]
    fn what_is_damaged_is_no_picture() {
        let file = written(ColorType::Rgba, BitDepth::Eight, &[], &[1; 8]);
        for length in [0, 8, 20, 40, file.len() / 2] {
            assert_eq!(decode(&file[..length]), None, "{length} bytes");
        }
        let mut huge = file.clone();
        // Its width.
        huge[16..20].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
        assert_eq!(decode(&huge), None);
        assert_eq!(decode(b"GIF89a"), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut raster = Raster::new(3, 2).unwrap();
        for (number, dot) in (0_u8..).zip(&mut raster.dots) {
            *dot = [number, 2 * number, 3 * number, 255 - number];
        }
        assert_eq!(decode(&encode(&raster).unwrap()), Some(raster));
    }
}
