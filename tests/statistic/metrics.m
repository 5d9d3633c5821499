% The scores of restored images, by their formulas alone: an independent check of
% statistic/metrics.py. Needs GNU Octave without packages.
%
%   octave-cli metrics.m INPUT.mat OUTPUT.mat
%
% INPUT holds cells restored, known, truth (gray or color, in 0..1) and a vector maxshift;
% OUTPUT gets vectors psnr, ssim, ratio, ratio_levin and the cell aligned.
1;

function y = luminance(image)
  y = image;
  if ndims(image) == 3
    y = (16 + 65.481 * image(:,:,1) + 128.553 * image(:,:,2) + 24.966 * image(:,:,3)) / 255;
  end
end

function best = align(restored, truth, maxshift)
  restored = restored(16-maxshift:end-15+maxshift, 16-maxshift:end-15+maxshift);
  [rows, columns] = size(truth);
  shifts = -maxshift:0.25:maxshift;
  across = (1:columns)' + maxshift + shifts;
  smallest = Inf;
  for dy = shifts
    candidates = interp2(restored, across(:)', (1:rows)' + maxshift + dy);
    candidates = reshape(candidates, rows, columns, numel(shifts));
    [total, dx] = min(sum(sum((candidates - truth).^2, 1), 2));
    if total < smallest
      smallest = total;
      best = candidates(:, :, dx);
    end
  end
end

function small = shrink(image, f)
  [rows, columns] = size(image);
  image = image([f:-1:1, 1:rows, rows:-1:rows-f+1], [f:-1:1, 1:columns, columns:-1:columns-f+1]);
  means = filter2(ones(f) / f^2, image, 'valid');
  start = f + 1 - (floor((f + 1) / 2) - 1);
  small = means(start:f:start+rows-1, start:f:start+columns-1);
end

function s = similarity(a, b)
  f = max(1, round(min(size(a)) / 256));
  if f > 1
    a = shrink(a, f);
    b = shrink(b, f);
  end
  [x, y] = meshgrid(-5:5);
  w = exp(-(x.^2 + y.^2) / (2 * 1.5^2));
  w = w / sum(w(:));
  ma = filter2(w, a, 'valid');
  mb = filter2(w, b, 'valid');
  va = filter2(w, a.^2, 'valid') - ma.^2;
  vb = filter2(w, b.^2, 'valid') - mb.^2;
  vab = filter2(w, a .* b, 'valid') - ma .* mb;
  c1 = (0.01 * 255)^2;
  c2 = (0.03 * 255)^2;
  map = ((2 * ma .* mb + c1) .* (2 * vab + c2)) ./ ((ma.^2 + mb.^2 + c1) .* (va + vb + c2));
  s = mean(map(:));
end

load(argv(){1});
for n = 1:numel(truth)
  reference = luminance(truth{n})(16:end-15, 16:end-15);
  aligned{n} = align(luminance(restored{n}), reference, maxshift(n));
  off = aligned{n} - reference;
  off_known = align(luminance(known{n}), reference, maxshift(n)) - reference;
  psnr(n) = 10 * log10(255^2 / mean((255 * off(:)).^2));
  ssim(n) = similarity(255 * aligned{n}, 255 * reference);
  ratio(n) = norm(off) / norm(off_known);
  ratio_levin(n) = sum(off(:).^2) / sum(off_known(:).^2);
end
save('-v6', argv(){2}, 'psnr', 'ssim', 'ratio', 'ratio_levin', 'aligned');
