"""Make one generator faster without making it worse: prune, distil, quantize, export."""
