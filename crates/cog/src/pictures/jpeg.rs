//! JPEG, read.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::raster::Raster;

/// The dots; nothing if it is damaged, of a kind that nobody uses, or larger than any screen.
pub(super) fn decode(content: &[u8]) -> Option<Raster> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(content), options);
    decoder.decode_headers().ok()?;
    let (width, height) = decoder.dimensions()?;
    let mut raster = Raster::new(width.try_into().ok()?, height.try_into().ok()?)?;
    let samples = decoder.decode().ok()?;
    let (dots, _) = samples.as_chunks::<3>();
    if dots.len() != raster.dots.len() {
        return None;
    }
    for (dot, [red, green, blue]) in raster.dots.iter_mut().zip(dots) {
        *dot = [*red, *green, *blue, u8::MAX];
    }
    Some(raster)
}
