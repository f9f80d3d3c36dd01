"""vLLM: for models in safetensors, on graphics processors; its build for processors is what the tests run."""
