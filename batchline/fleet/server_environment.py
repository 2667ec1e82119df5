"""The environment of a model server: what it inherits of ours, and what it always gets."""

from __future__ import annotations

INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "XDG_*"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "CUDA_*", "NVIDIA_*", "NCCL_*", "GLOO_*", "UCX_*"),
    *("VLLM_*", "HF_*", "HUGGING_FACE_*", "HUGGINGFACE_*", "TRANSFORMERS_*", "TOKENIZERS_*"),
    *("TORCH*", "PYTORCH_*", "TRITON_*", "FLASHINFER_*", "RAY_*"),
    *("OMP_*", "MKL_*", "KMP_*", "GOMP_*", "OPENBLAS_*"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""Variables that a model server inherits from us; `*` stands for any end. Our keys and the other variables of
an operator's shell are left out, and so are those of our own virtual environment: without byte code, for
example, each server compiles thousands of modules again (two minutes instead of 45 s, measured)."""
GPU_SERVER = {
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "65",  # uvicorn's 5 s are shorter than those of client pools
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",  # else an allowed host could redirect to any other
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
CPU_SERVER = GPU_SERVER | {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",  # two servers on two cores
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # else the engine may not be its own worker
    "CUDA_VISIBLE_DEVICES": "",
}
