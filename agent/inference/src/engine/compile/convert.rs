//! The forms of a value, made from each other on demand and kept for the next who asks.

use aimass_kernels::Padding;
use tract_onnx::prelude::{Datum, OutletId};

use super::{Compiler, MapShape};
use crate::engine::ops::dynamic_quantise::DynamicQuantise;
use crate::engine::ops::layout::{FromMap, FromTensor, ToMap, ToTensor};
use crate::engine::ops::pad;
use crate::engine::value::{BufferId, Flat, FloatMap, Order, QuantMap, Slot, Value};

impl Compiler<'_> {
    /// The value as f32 without gaps, in the order of its shape.
    ///
    /// # Errors
    /// It has no fixed shape, or no numbers.
    pub(in crate::engine) fn flat(&mut self, outlet: OutletId) -> Result<BufferId, String> {
        if let Some(Value::Flat(Flat { buffer, order: Order::RowMajor, .. })) = self.value(outlet) {
            return Ok(*buffer);
        }
        if let Some(buffer) = self.flats.get(&outlet) {
            return Ok(*buffer);
        }
        if self.is_padded(outlet) {
            pad::materialise(self, outlet)?;
        }
        let value = self.value(outlet).cloned().ok_or("a value is used before it is made")?;
        let buffer = match value {
            Value::Quant(QuantMap { buffer: source, table, pad, .. }) if pad == Padding::default() => {
                let buffer = self.flat_buffer(outlet)?;
                self.emit(FromMap::bytes(source, table, buffer, Order::RowMajor));
                buffer
            }
            Value::Floats(FloatMap { buffer: source, pad, .. }) if pad == Padding::default() => {
                let buffer = self.flat_buffer(outlet)?;
                self.emit(FromMap::floats(source, buffer, Order::RowMajor));
                buffer
            }
            Value::Flat(Flat { buffer: source, .. }) => {
                let shape = match self.shape(outlet).as_deref() {
                    Some([1, channels, rest @ ..]) => {
                        MapShape { height: 1, width: rest.iter().product(), channels: *channels }
                    }
                    _ => return Err("channels lie side by side in what is no picture".into()),
                };
                let buffer = self.flat_buffer(outlet)?;
                self.emit(FromMap::flat(source, shape, buffer));
                buffer
            }
            Value::Tensor(slot) => {
                let buffer = self.flat_buffer(outlet)?;
                self.emit(FromTensor { slot, buffer });
                buffer
            }
            Value::Const(_) | Value::Weights(_) => {
                let content = self.floats(outlet).ok_or("a constant holds no numbers")?;
                self.constant_buffer(content)
            }
            _ => return Err("a value was made part of another and is still asked for".into()),
        };
        self.flats.insert(outlet, buffer);
        Ok(buffer)
    }

    /// Whether the value is a picture whose padding its consumer was to read from the padding.
    fn is_padded(&self, outlet: OutletId) -> bool {
        match self.value(outlet) {
            Some(Value::Quant(QuantMap { pad, .. }) | Value::Floats(FloatMap { pad, .. })) => {
                *pad != Padding::default()
            }
            _ => false,
        }
    }

    /// The value as an f32 picture with its shape, `[1, c, n]` as one row; `None` if it is no picture or not known as one.
    ///
    /// # Errors
    /// As [`Self::flat`].
    pub(in crate::engine) fn map(
        &mut self,
        outlet: OutletId,
    ) -> Result<Option<(FloatMap, MapShape)>, String> {
        let Some(mut shape) = self.rows_shape(outlet) else { return Ok(None) };
        let is_f32 = self.model().outlet_fact(outlet).is_ok_and(|f| f.datum_type == f32::datum_type());
        if !is_f32 {
            return Ok(None);
        }
        let single_use = self.has_single_use(outlet);
        let new = |buffer| FloatMap { buffer, pad: Padding::default(), single_use };
        if let Some(buffer) = self.maps.get(&outlet) {
            return Ok(Some((FloatMap { single_use: false, ..new(*buffer) }, shape)));
        }
        let made = match self.value(outlet).cloned() {
            Some(Value::Floats(floats)) => {
                let pad = floats.pad;
                shape.height -= pad.top + pad.bottom;
                shape.width -= pad.left + pad.right;
                return Ok(Some((floats, shape)));
            }
            Some(Value::Quant(QuantMap { buffer: source, table, pad, .. })) => {
                shape.height -= pad.top + pad.bottom;
                shape.width -= pad.left + pad.right;
                let buffer = self.new_f32_buffer(shape);
                self.emit(ToMap::bytes(source, table, buffer));
                return Ok(Some((FloatMap { pad, ..new(buffer) }, shape)));
            }
            Some(Value::Flat(Flat { buffer: source, order, .. })) => {
                let buffer = self.new_f32_buffer(shape);
                self.emit(ToMap::floats(source, order, buffer));
                buffer
            }
            Some(Value::Tensor(_)) => {
                let flat = self.flat(outlet)?;
                let buffer = self.new_f32_buffer(shape);
                self.emit(ToMap::floats(flat, Order::RowMajor, buffer));
                buffer
            }
            _ => return Ok(None),
        };
        self.maps.insert(outlet, made);
        Ok(Some((FloatMap { single_use: false, ..new(made) }, shape)))
    }

    /// The value as a tensor for tract.
    ///
    /// # Errors
    /// As [`Self::flat`].
    pub(in crate::engine) fn slot(&mut self, outlet: OutletId) -> Result<Slot, String> {
        if let Some(Value::Tensor(slot)) = self.value(outlet) {
            return Ok(*slot);
        }
        if let Some(slot) = self.slots.get(&outlet) {
            return Ok(*slot);
        }
        let shape = self.shape(outlet).ok_or("a shape is not fixed, empty, or out of all proportion")?;
        let fact = self.model().outlet_fact(outlet).map_err(|e| e.to_string())?;
        let kind = fact.datum_type;
        let buffer = self.flat(outlet)?;
        let slot = self.new_slot();
        self.emit(ToTensor { buffer, slot, shape, kind });
        self.slots.insert(outlet, slot);
        Ok(slot)
    }

    /// The value as bytes by a range of its own, and the buffer with their scale and zero point.
    ///
    /// # Errors
    /// As [`Self::flat`].
    pub(in crate::engine) fn dynamically_quantised(
        &mut self,
        outlet: OutletId,
    ) -> Result<(BufferId, BufferId), String> {
        if let Some(made) = self.quantised.get(&outlet) {
            return Ok(*made);
        }
        let input = self.flat(outlet)?;
        let channels = self.buffer(input).channels;
        let output = self.new_u8_buffer(MapShape { height: 1, width: 1, channels }, 0);
        let params = self.new_f32_buffer(MapShape { height: 1, width: 1, channels: 2 });
        self.emit(DynamicQuantise { input, output, params });
        self.quantised.insert(outlet, (output, params));
        Ok((output, params))
    }
}
