//! The function `hex`: ids, which are stored as bytes, as the text that people paste.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, FixedSizeBinaryArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::text;

/// `hex(bytes) -> text`, lower case.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Hexadecimal {
    signature: Signature,
}

/// The function.
pub(super) fn hex() -> ScalarUDF {
    ScalarUDF::from(Hexadecimal { signature: Signature::any(1, Volatility::Immutable) })
}

impl ScalarUDFImpl for Hexadecimal {
    fn name(&self) -> &'static str {
        "hex"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(array) = arrays.first() else { return exec_err!("hex takes one argument") };
        let texts: StringArray = if let Some(fixed) = array.as_any().downcast_ref::<FixedSizeBinaryArray>() {
            fixed.iter().map(|bytes| bytes.map(text::hex)).collect()
        } else if let Some(binary) = array.as_any().downcast_ref::<BinaryArray>() {
            binary.iter().map(|bytes| bytes.map(text::hex)).collect()
        } else {
            return exec_err!("hex takes bytes, not {}", array.data_type());
        };
        Ok(ColumnarValue::Array(Arc::new(texts) as ArrayRef))
    }
}
